-- The newest complete result of each experiment.
SELECT argMax(body, computed_at) AS body
FROM experiment_runs
GROUP BY project, experiment
