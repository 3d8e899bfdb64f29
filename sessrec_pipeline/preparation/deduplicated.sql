-- Exact copies of a row dropped; the one that came first stays.
-- In: events (session, item, time, place, split, extra)
SELECT session, item, time, MIN(place) AS place, split
FROM events
GROUP BY session, item, time, split, extra
