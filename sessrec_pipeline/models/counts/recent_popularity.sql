-- Items by number of events in the window that ends with the last training event, then by events in all of training;
-- among equals the one seen first comes first.
-- In: train (session_number, position, item, time, ...). Values: $window, microseconds.
SELECT
    item,
    recent_events,
    events,
    first_seen,
    CAST(ROW_NUMBER() OVER (ORDER BY recent_events DESC, events DESC, first_seen) AS BIGINT) AS recent_rank
FROM (
    SELECT
        t.item,
        CAST(SUM(CASE WHEN t.time > newest.time - $window THEN 1 ELSE 0 END) AS BIGINT) AS recent_events,
        CAST(COUNT(*) AS BIGINT) AS events,
        MIN(t.session_number * 1000000 + t.position) AS first_seen
    FROM train AS t
    CROSS JOIN (SELECT MAX(time) AS time FROM train) AS newest
    GROUP BY t.item
) AS counted
ORDER BY recent_rank
