-- Sums of each metric over each test session, for every tie rule and cutoff.
-- In: gains (gains.sql).
SELECT
    model,
    tie_rule,
    k,
    session,
    COUNT(*) AS predictions,
    SUM(recall) AS recall,
    SUM(mrr) AS mrr,
    SUM(ndcg) AS ndcg,
    SUM(map) AS map,
    SUM(precision) AS precision
FROM gains
GROUP BY model, tie_rule, k, session
ORDER BY model, tie_rule, k, session
