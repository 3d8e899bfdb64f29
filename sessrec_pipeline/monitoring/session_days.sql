-- Sessions by the day on which they start: how many, their events, and how many have one event alone.
-- In: sessionised (session, time, ...)
SELECT
    day,
    CAST(COUNT(*) AS BIGINT) AS sessions,
    CAST(SUM(length) AS BIGINT) AS session_events,
    CAST(SUM(CASE WHEN length = 1 THEN 1 ELSE 0 END) AS BIGINT) AS singles
FROM (
    SELECT session, CAST(FLOOR(MIN(time) / 86400000000) AS BIGINT) AS day, CAST(COUNT(*) AS BIGINT) AS length
    FROM sessionised
    GROUP BY session
) AS started
GROUP BY day
ORDER BY day
