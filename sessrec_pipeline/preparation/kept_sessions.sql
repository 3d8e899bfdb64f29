-- Sessions of at least $shortest events on kept items, and how many events these are.
-- In: within_length (session, item, ...), kept_items (item)
SELECT e.session, CAST(COUNT(*) AS BIGINT) AS events
FROM within_length AS e
SEMI JOIN kept_items ON kept_items.item = e.item
GROUP BY e.session
HAVING COUNT(*) >= $shortest
