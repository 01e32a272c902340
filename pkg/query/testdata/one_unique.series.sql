WITH
  toDate(fromUnixTimestamp64Micro({start:Int64}, 'UTC'), {tz:String}) AS day0,
  owners AS (
    SELECT visitor, first.3 AS owner FROM identities_state FINAL WHERE project = {project:String}
  ),
  rows AS (
    SELECT anchor, user, toUInt16(indexOf({variants:Array(String)}, variant)) AS c,
      bitShiftLeft(toUInt64(toUnixTimestamp64Micro(time) - {base:Int64}), 12) + c AS x, toUInt128(0) AS z
    FROM exposures_raw
    WHERE project = {project:String} AND experiment = {experiment:String}
      AND time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC')
      AND (bitAnd(flags, {moved:UInt8}) = 0 OR event_id NOT IN (
        SELECT event_id FROM exposures_raw
        WHERE project = {project:String} AND experiment = {experiment:String} AND bitAnd(flags, {moved:UInt8}) != 0
          AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC') AND received_at < fromUnixTimestamp64Micro({start:Int64}, 'UTC')))
      AND anchor != 0 AND bitAnd(flags, {fallback:UInt8}) = 0 AND override_reason = '' AND c > 0
    UNION ALL
    SELECT anchor, user, toUInt16(0) AS c,
      bitShiftLeft(toUInt64(greatest(toUnixTimestamp64Micro(time) - {base:Int64}, 0)), 12) + indexOf({names:Array(String)}, name) AS x,
      bitShiftLeft(toUInt128(reinterpretAsUInt64(event_id)), 64) + x AS z
    FROM kpis_raw
    WHERE project = {project:String} AND name IN {names:Array(String)}
      AND time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC')
      AND anchor != 0
  ),
  -- Copies of an event lie side by side once sorted, the earliest first, and
  -- are one from there on. Copies differ in time only where the client's time
  -- was replaced by that of receipt; the earliest receipt stands.
  people AS (
    SELECT
      if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS e,
      minIf(r.x, r.c > 0) AS f,
      groupBitOrIf(bitShiftLeft(toUInt64(1), r.c), r.c > 0) AS seen,
      arrayCompact(z -> bitShiftRight(z, 64), arraySort(groupArrayIf(r.z, r.c = 0))) AS zs
    FROM rows AS r
    LEFT ANY JOIN owners AS o ON r.anchor = o.visitor
    GROUP BY e
    HAVING seen != 0
  ),
  -- lo is the first exposure's time without the variant: what is not below it counts.
  since AS (
    SELECT
      toUInt16(bitAnd(f, 4095)) AS v, bitCount(seen) = 1 OR {keep_first:UInt8} = 1 AS kept, bitCount(seen) > 1 AS switched,
      f - v AS lo,
      arrayFilter(x -> x >= lo, arrayMap(z -> toUInt64(z), zs)) AS xs
    FROM people
  ),
  per_event AS (
    SELECT v, m, d, y, cum, starts
    FROM (
      SELECT v,
        arraySort(arrayFilter(x -> bitAnd(x, 4095) = 1 AND x < lo + bitShiftLeft(toUInt64({w0:Int64}), 12), xs)) AS b0,
        arrayMap(x -> toInt128(1), b0) AS y0,
        arrayMap(x -> toInt32(toDate(fromUnixTimestamp64Micro(toInt64(bitShiftRight(x, 12)) + {base:Int64}, 'UTC'), {tz:String}) - day0), b0) AS d0,
        arrayConcat([toUInt16(0)], arrayMap(x -> toUInt16(1), b0)) AS ms,
        arrayConcat([toInt32(toDate(fromUnixTimestamp64Micro(toInt64(bitShiftRight(lo, 12)) + {base:Int64}, 'UTC'), {tz:String}) - day0)], d0) AS ds,
        arrayConcat([toInt128(0)], y0) AS vs,
        arrayConcat([toInt128(0)], arrayCumSum(y0)) AS cs,
        -- 2: the entity's first event, 1: its first of a day
        arrayConcat([toUInt8(2)], arrayMap((step, i) -> toUInt8(multiIf(i = 1, 2, step != 0, 1, 0)), arrayDifference(d0), arrayEnumerate(d0))) AS ss
      FROM since
      WHERE kept
    )
    ARRAY JOIN ms AS m, ds AS d, vs AS y, cs AS cum, ss AS starts
  )
SELECT m, v AS variant, toString(day0 + d) AS day,
  [toString(count()), toString(countIf(starts > 0)), toString(countIf(starts = 2)), toString(sum(y)),
   toString(sum(toInt256(cum) * cum - toInt256(cum - y) * (cum - y)))] AS cells
FROM per_event
GROUP BY m, v, d
ORDER BY m, v, d
SETTINGS enable_shared_storage_snapshot_in_query = 1, query_plan_join_swap_table = 'false', distributed_product_mode = 'local'
