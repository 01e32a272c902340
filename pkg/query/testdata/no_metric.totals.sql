WITH
  owners AS (
    SELECT visitor, first.3 AS owner FROM identities_state FINAL WHERE project = {project:String}
  ),
  rows AS (
    SELECT anchor, user, toUInt16(indexOf({variants:Array(String)}, variant)) AS c,
      bitShiftLeft(toUInt64(toUnixTimestamp64Micro(time) - {base:Int64}), 12) + c AS x
    FROM exposures_raw
    WHERE project = {project:String} AND experiment = {experiment:String}
      AND time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC')
      AND (bitAnd(flags, {moved:UInt8}) = 0 OR event_id NOT IN (
        SELECT event_id FROM exposures_raw
        WHERE project = {project:String} AND experiment = {experiment:String} AND bitAnd(flags, {moved:UInt8}) != 0
          AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC') AND received_at < fromUnixTimestamp64Micro({start:Int64}, 'UTC')))
      AND anchor != 0 AND bitAnd(flags, {fallback:UInt8}) = 0 AND override_reason = '' AND c > 0
  ),
  -- Copies of an event lie side by side once sorted, the earliest first, and
  -- are one from there on. Copies differ in time only where the client's time
  -- was replaced by that of receipt; the earliest receipt stands.
  people AS (
    SELECT
      if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS e,
      minIf(r.x, r.c > 0) AS f,
      groupBitOrIf(bitShiftLeft(toUInt64(1), r.c), r.c > 0) AS seen
    FROM rows AS r
    LEFT ANY JOIN owners AS o ON r.anchor = o.visitor
    GROUP BY e
    HAVING seen != 0
  ),
  -- lo is the first exposure's time without the variant: what is not below it counts.
  since AS (
    SELECT
      toUInt16(bitAnd(f, 4095)) AS v, bitCount(seen) = 1 OR {keep_first:UInt8} = 1 AS kept, bitCount(seen) > 1 AS switched,
      f - v AS lo
    FROM people
  )
SELECT part, variant, detail, cells
FROM (
  SELECT toUInt8(1) AS part, v AS variant, '' AS detail,
    [toString(countIf(NOT switched)), toString(countIf(switched))
    ] AS cells
  FROM since
  GROUP BY v
  UNION ALL
  SELECT toUInt8(2) AS part,
    toUInt16(multiIf(anchor = 0, 1, bitAnd(flags, {fallback:UInt8}) != 0, 2, override_reason != '', 3, NOT has({variants:Array(String)}, variant), 4, 0)) AS class,
    multiIf(class IN (1, 2), toString(sdk_error), class = 3, toString(override_reason), class = 4, toString(variant), '') AS detail,
    [toString(uniqExactIf(event_id, class != 0)), toString(toUnixTimestamp64Micro(max(time))), toString(toUnixTimestamp64Micro(max(received_at)))] AS cells
  FROM exposures_raw
  WHERE project = {project:String} AND experiment = {experiment:String}
      AND time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC')
      AND (bitAnd(flags, {moved:UInt8}) = 0 OR event_id NOT IN (
        SELECT event_id FROM exposures_raw
        WHERE project = {project:String} AND experiment = {experiment:String} AND bitAnd(flags, {moved:UInt8}) != 0
          AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC') AND received_at < fromUnixTimestamp64Micro({start:Int64}, 'UTC')))
  GROUP BY class, detail
)
ORDER BY part, variant, detail
SETTINGS enable_shared_storage_snapshot_in_query = 1, query_plan_join_swap_table = 'false', distributed_product_mode = 'local'
