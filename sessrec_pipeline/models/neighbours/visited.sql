-- Each item of each training session once, with where it last stood and when the session ended.
-- In: train (session_number, position, item, time, ...)
SELECT
    t.session_number,
    t.item,
    MIN(t.position) AS first_position,
    MAX(t.position) AS last_position,
    MAX(ends.time) AS session_end
FROM train AS t
JOIN (SELECT session_number, MAX(time) AS time FROM train GROUP BY session_number) AS ends
    ON ends.session_number = t.session_number
GROUP BY t.session_number, t.item
