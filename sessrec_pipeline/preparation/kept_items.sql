-- Items with at least $support events in kept sessions, and how many events these are.
-- In: within_length (session, item, ...), kept_sessions (session)
SELECT e.item, CAST(COUNT(*) AS BIGINT) AS events
FROM within_length AS e
SEMI JOIN kept_sessions ON kept_sessions.session = e.session
GROUP BY e.item
HAVING COUNT(*) >= $support
