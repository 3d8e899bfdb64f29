-- An event on the same item as the event before it in its session dropped.
-- In: sessionised (session, item, time, log, line, split)
SELECT session, item, time, log, line, split
FROM (
    SELECT
        session, item, time, log, line, split,
        LAG(item) OVER (PARTITION BY session ORDER BY time, log, line) AS previous
    FROM sessionised
) AS with_previous
WHERE previous IS NULL OR previous <> item
