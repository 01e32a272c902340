-- Whether anything that touches the experiment was stored since the watermarks:
-- an exposure of it, a KPI that it reads, a match of its project. marks gives
-- per kind the offsets by partition (index + 1).
SELECT toInt64(count()) AS n
FROM (
  SELECT 1
  FROM changes
  WHERE project = {project:String}
    AND ((kind = 1 AND key = {experiment:String} AND offset >= {exposures:Array(Int64)}[topic_partition + 1])
      OR (kind = 2 AND key IN {names:Array(String)} AND offset >= {kpis:Array(Int64)}[topic_partition + 1])
      OR (kind = 3 AND key = '' AND offset >= {matches:Array(Int64)}[topic_partition + 1]))
  LIMIT 1
)
