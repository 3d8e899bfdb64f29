-- How many sessions start in each hour since 1970 in which one does.
-- In: sessions (session_start, position, ...)
SELECT CAST(FLOOR(session_start / 3600000000.0) AS BIGINT) AS hour, CAST(COUNT(*) AS BIGINT) AS sessions
FROM sessions
WHERE position = 0
GROUP BY CAST(FLOOR(session_start / 3600000000.0) AS BIGINT)
