-- Mean popularity of what the sessions had seen before a prediction: the mean over predictions of the mean over history.
-- In: test (session, position, item); popularity (item, events). Popularity is the share of training events.
WITH shares AS (SELECT item, events / SUM(events) OVER () AS share FROM popularity),
histories AS (
    SELECT
        AVG(s.share) OVER (
            PARTITION BY t.session ORDER BY t.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS mean_share
    FROM test AS t LEFT JOIN shares AS s ON s.item = t.item
)
SELECT AVG(mean_share) FROM histories
