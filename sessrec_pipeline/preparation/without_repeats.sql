-- An event on the same item as the event before it in its session dropped.
-- In: sessionised (session, item, time, place, split)
SELECT session, item, time, place, split
FROM (
    SELECT
        session, item, time, place, split,
        LAG(item) OVER (PARTITION BY session ORDER BY time, place) AS previous
    FROM sessionised
) AS with_previous
WHERE previous IS NULL OR previous <> item
