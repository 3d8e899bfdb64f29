-- Sums of each metric over each test session, for every tie rule and cutoff; a prediction is one row of evidence.
-- In: rankings (model, session, greater, equal). Values: $cutoffs.
--   Recall@K = share of predictions with rank <= K (one target each: the same as HitRate@K)
--   MRR@K    = mean of 1 / rank, 0 where rank > K
--   NDCG@K   = mean of 1 / log2(rank + 1), 0 where rank > K (one target: the ideal DCG is 1)
WITH ranks AS (
    SELECT model, session, 'standard' AS tie_rule, CAST(greater + 1 AS DOUBLE) AS target_rank FROM rankings
    UNION ALL
    SELECT model, session, 'median' AS tie_rule, greater + (equal + 1) / 2.0 AS target_rank FROM rankings
    UNION ALL
    SELECT model, session, 'conservative' AS tie_rule, CAST(greater + equal AS DOUBLE) AS target_rank FROM rankings
),
cutoffs AS (SELECT UNNEST($cutoffs) AS k)
SELECT
    model,
    tie_rule,
    k,
    session,
    COUNT(*) AS predictions,
    SUM(CASE WHEN target_rank <= k THEN 1.0 ELSE 0.0 END) AS recall,
    SUM(CASE WHEN target_rank <= k THEN 1.0 / target_rank ELSE 0.0 END) AS mrr,
    SUM(CASE WHEN target_rank <= k THEN 1.0 / LOG2(target_rank + 1) ELSE 0.0 END) AS ndcg
FROM ranks CROSS JOIN cutoffs
GROUP BY model, tie_rule, k, session
ORDER BY model, tie_rule, k, session
