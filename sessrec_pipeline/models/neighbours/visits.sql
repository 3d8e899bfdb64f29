-- How many training sessions each item is in.
-- In: visited (session_number, item, first_position, ...)
SELECT
    item,
    CAST(COUNT(*) AS BIGINT) AS sessions,
    MIN(session_number * 1000000 + first_position) AS first_seen
FROM visited
GROUP BY item
