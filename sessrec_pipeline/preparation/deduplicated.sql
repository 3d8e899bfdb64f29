-- Exact copies of a row dropped; the one that came first stays.
-- In: encoded (session, item, time, place, split, extra)
SELECT session, item, time, MIN(place) AS place, split
FROM encoded
GROUP BY session, item, time, split, extra
