-- For each test event the mean training events of the items that its session had seen before; null where it had none.
-- In: test (session, position, item); popularity (item, events).
SELECT
    AVG(p.events) OVER (
        PARTITION BY t.session ORDER BY t.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS mean_events
FROM test AS t LEFT JOIN popularity AS p ON p.item = t.item
ORDER BY t.session, t.position
