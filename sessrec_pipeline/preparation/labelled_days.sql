-- Sessions that start at the cutoff or later test; train is everything before that moment. What the training
-- sessions did later belongs to neither.
-- In: sessions. Values: $cutoff in microseconds.
SELECT
    session, session_number, position, item, time, session_start,
    CASE WHEN session_start >= $cutoff THEN 'test' WHEN time < $cutoff THEN 'train' ELSE 'after cutoff' END AS part
FROM sessions
