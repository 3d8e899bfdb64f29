-- The first sessions in time order train.
-- In: sessions. Values: $train_sessions.
SELECT
    session, session_number, position, item, time, session_start,
    CASE WHEN session_number < $train_sessions THEN 'train' ELSE 'test' END AS part
FROM sessions
