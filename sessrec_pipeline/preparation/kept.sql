-- The events of kept sessions on kept items.
-- In: within_length (session, item, time, place, split), kept_sessions (session), kept_items (item)
SELECT e.session, e.item, e.time, e.place, e.split
FROM within_length AS e
SEMI JOIN kept_sessions ON kept_sessions.session = e.session
SEMI JOIN kept_items ON kept_items.item = e.item
