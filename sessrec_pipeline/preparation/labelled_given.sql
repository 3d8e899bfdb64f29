-- The log says itself what trains and what tests.
-- In: sessions.
SELECT
    session, session_number, position, item, time, session_start,
    COALESCE(split, 'unlabelled') AS part
FROM sessions
