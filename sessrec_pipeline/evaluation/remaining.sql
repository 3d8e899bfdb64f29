-- Each list judged against everything that its session still had to come: a row per cutoff and prediction.
-- In: rankings (session, position, top_items) of one model; test (session, position, item); cutoffs (k).
-- Relevant to the prediction at a position are the distinct items of the session from that position on, R of them:
--   precision@K = relevant items among the first K / K
--   recall@K    = relevant items among the first K / R
--   map         = AP@K = 1 / R * sum over the relevant places i <= K of (relevant among the first i) / i
WITH last_seen AS (SELECT session, item, MAX(position) AS last_position FROM test GROUP BY session, item),
relevant AS (
    SELECT r.session, r.position, COUNT(*) AS items
    FROM rankings AS r JOIN last_seen AS l ON l.session = r.session AND l.last_position >= r.position
    GROUP BY r.session, r.position
),
listed AS (
    SELECT session, position, UNNEST(top_items) AS item, GENERATE_SUBSCRIPTS(top_items, 1) AS place FROM rankings
),
hits AS (
    SELECT
        listed.session,
        listed.position,
        listed.place,
        ROW_NUMBER() OVER (PARTITION BY listed.session, listed.position ORDER BY listed.place) AS nth
    FROM listed
    JOIN last_seen AS l
        ON l.session = listed.session AND l.item = listed.item AND l.last_position >= listed.position
),
found AS (
    SELECT
        hits.session,
        hits.position,
        cutoffs.k,
        COUNT(*) AS hits,
        -- In a stated order, for the last digit of a sum depends on it.
        SUM(CAST(hits.nth AS DOUBLE) / hits.place ORDER BY hits.place) AS precisions
    FROM hits JOIN cutoffs ON hits.place <= cutoffs.k
    GROUP BY hits.session, hits.position, cutoffs.k
)
SELECT
    cutoffs.k,
    COALESCE(CAST(found.hits AS DOUBLE) / cutoffs.k, 0) AS precision,
    COALESCE(CAST(found.hits AS DOUBLE) / relevant.items, 0) AS recall,
    COALESCE(found.precisions / relevant.items, 0) AS map
FROM relevant
CROSS JOIN cutoffs
LEFT JOIN found
    ON found.session = relevant.session AND found.position = relevant.position AND found.k = cutoffs.k
ORDER BY cutoffs.k, relevant.session, relevant.position
