-- How many events lie in each hour since 1970 in which one does.
-- In: sessions (time, ...)
SELECT CAST(FLOOR(time / 3600000000.0) AS BIGINT) AS hour, CAST(COUNT(*) AS BIGINT) AS events
FROM sessions
GROUP BY CAST(FLOOR(time / 3600000000.0) AS BIGINT)
