-- Mean distance of the first K items of each of some lists of one model.
-- In: sampled (list, place, item) with places from 1; train (session_number, item); cutoffs (k).
--     Values: $first_session, the first training session that counts.
-- The distance of two items is 1 - cosine of the training sessions that hold them:
--   1 - sessions with both / sqrt(sessions with the one * sessions with the other)
WITH wanted AS (SELECT DISTINCT item FROM sampled),
held AS (
    SELECT DISTINCT session_number, item FROM train SEMI JOIN wanted USING (item)
    WHERE session_number >= $first_session
),
sizes AS (SELECT item, COUNT(*) AS sessions FROM held GROUP BY item),
pairs AS (
    SELECT a.list, a.item AS one, b.item AS other, a.place AS before, b.place
    FROM sampled AS a JOIN sampled AS b ON a.list = b.list AND a.place < b.place
),
distinct_pairs AS (SELECT DISTINCT LEAST(one, other) AS one, GREATEST(one, other) AS other FROM pairs),
together AS (
    SELECT a.item AS one, b.item AS other, COUNT(*) AS sessions
    FROM held AS a JOIN held AS b ON a.session_number = b.session_number AND a.item < b.item
    SEMI JOIN distinct_pairs AS d ON d.one = a.item AND d.other = b.item
    GROUP BY a.item, b.item
),
distances AS (
    SELECT t.one, t.other, 1 - t.sessions / SQRT(CAST(o.sessions AS DOUBLE) * p.sessions) AS distance
    FROM together AS t JOIN sizes AS o ON o.item = t.one JOIN sizes AS p ON p.item = t.other
)
-- In a stated order, for the last digit of a sum depends on it.
SELECT
    cutoffs.k,
    pairs.list,
    AVG(COALESCE(distances.distance, 1) ORDER BY pairs.place, pairs.before) AS diversity
FROM pairs
JOIN cutoffs ON pairs.place <= cutoffs.k
LEFT JOIN distances
    ON distances.one = LEAST(pairs.one, pairs.other) AND distances.other = GREATEST(pairs.one, pairs.other)
GROUP BY cutoffs.k, pairs.list
ORDER BY cutoffs.k, pairs.list
