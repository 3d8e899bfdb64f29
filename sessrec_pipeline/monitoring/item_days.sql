-- Events of each item on each day, days since 1970 (UTC).
-- In: sessionised (item, time, ...)
SELECT day, item, CAST(COUNT(*) AS BIGINT) AS events
FROM (
    SELECT CAST(FLOOR(time / 86400000000) AS BIGINT) AS day, item FROM sessionised
) AS dated
GROUP BY day, item
