-- The log says itself what trains and what tests; positions count anew, for it may part a session.
-- In: sessions.
SELECT
    session,
    session_number,
    CAST(ROW_NUMBER() OVER (PARTITION BY session_number, COALESCE(split, 'unlabelled') ORDER BY position) - 1 AS BIGINT)
        AS position,
    item, time, session_start,
    COALESCE(split, 'unlabelled') AS part
FROM sessions
