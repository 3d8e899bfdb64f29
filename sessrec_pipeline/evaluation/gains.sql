-- The gain of each prediction under every tie rule and cutoff; a prediction is one row of evidence with one target.
-- ranks.py computes the same in numpy, to the last bit.
-- In: rankings (model, session, position, greater, equal), cutoffs (k).
--   recall    = 1 where rank <= K (one target: the same as HitRate)
--   mrr       = 1 / rank, 0 where rank > K
--   ndcg      = 1 / log2(rank + 1), 0 where rank > K (one target: the ideal DCG is 1)
--   map       = average precision: with one target the precision at its rank, so the same as mrr
--   precision = 1 / K where rank <= K: of the first K items at most one is the target
WITH ranks AS (
    SELECT model, session, position, 'standard' AS tie_rule, CAST(greater + 1 AS DOUBLE) AS target_rank FROM rankings
    UNION ALL
    SELECT model, session, position, 'median' AS tie_rule, greater + (equal + 1) / 2.0 AS target_rank FROM rankings
    UNION ALL
    SELECT model, session, position, 'conservative' AS tie_rule, CAST(greater + equal AS DOUBLE) AS target_rank
    FROM rankings
)
SELECT
    model,
    session,
    position,
    tie_rule,
    k,
    CASE WHEN target_rank <= k THEN CAST(1 AS DOUBLE) ELSE 0.0 END AS recall,
    CASE WHEN target_rank <= k THEN 1.0 / target_rank ELSE 0.0 END AS mrr,
    CASE WHEN target_rank <= k THEN 1.0 / LOG2(target_rank + 1) ELSE 0.0 END AS ndcg,
    CASE WHEN target_rank <= k THEN 1.0 / target_rank ELSE 0.0 END AS map,
    CASE WHEN target_rank <= k THEN CAST(1 AS DOUBLE) / k ELSE 0.0 END AS precision
FROM ranks CROSS JOIN cutoffs
