-- Daily numbers of every trend metric of an experiment, by the project's
-- calendar: what each day added, and what the days up to it add up to. m is the
-- metric's number; m = 0 counts the entities first exposed that day.
WITH
  owners AS (
    SELECT visitor, first.3 AS owner FROM identities_state FINAL WHERE project = {project:String}
  ),
  toDate(fromUnixTimestamp64Micro({start:Int64}, 'UTC'), {tz:String}) AS d0,
  ex AS (
    SELECT
      if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS e,
      min(bitShiftLeft(toUInt64(toUnixTimestamp64Micro(r.time) - {start:Int64}), 16) + indexOf({variants:Array(String)}, r.variant)) AS f,
      groupBitOr(bitShiftLeft(toUInt64(1), indexOf({variants:Array(String)}, r.variant))) AS seen
    FROM exposures_raw AS r
    LEFT ANY JOIN owners AS o ON r.anchor = o.visitor
    WHERE r.project = {project:String} AND r.experiment = {experiment:String}
      AND r.time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND r.time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND r.received_at >= fromUnixTimestamp64Micro({start:Int64} - 86400000000, 'UTC')
      AND r.anchor != 0 AND bitAnd(r.flags, {fallback:UInt8}) = 0 AND r.override_reason = ''
      AND has({variants:Array(String)}, r.variant)
    GROUP BY e
    HAVING bitCount(seen) = 1 OR {keep_first:UInt8} = 1
  ),
  ev AS (
    SELECT k.e AS e, any(x.f) AS ff, min(k.t) AS tt, any(k.i) AS ii, min(k.y) AS yy
    FROM (
      SELECT
        if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS e, r.event_id AS event_id,
        toUnixTimestamp64Micro(r.time) - {start:Int64} AS t,
        toUInt16(indexOf({names:Array(String)}, r.name)) AS i,
        r.value_micro AS y, bitAnd(r.flags, {moved:UInt8}) != 0 AS moved
      FROM kpis_raw AS r
      LEFT ANY JOIN owners AS o ON r.anchor = o.visitor
      WHERE r.project = {project:String} AND r.name IN {names:Array(String)}
        AND r.time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
        AND r.received_at >= fromUnixTimestamp64Micro({start:Int64} - 86400000000, 'UTC')
        AND r.anchor != 0
    ) AS k
    INNER JOIN ex AS x ON k.e = x.e
    WHERE k.moved OR k.t >= toInt64(bitShiftRight(x.f, 16))
    GROUP BY k.e, k.event_id
    HAVING tt >= toInt64(bitShiftRight(ff, 16))
  ),
  -- Per entity and metric a map of days: with the running sum at hand, the
  -- squares of the cumulative series come out exactly.
  per_entity AS (
    SELECT e, mm, toUInt16(bitAnd(any(ff), 65535)) AS v,
      sumMap([day], [if({valued:Array(UInt8)}[mm] = 1, toInt128(yy), toInt128(1))]) AS ms,
      sumMap([day], [toUInt64(1)]) AS mc,
      arrayCumSum(ms.2) AS cum
    FROM (
      SELECT e, ff, tt, yy, mm, toInt32(toDate(fromUnixTimestamp64Micro(tt + {start:Int64}, 'UTC'), {tz:String}) - d0) AS day
      FROM ev
      ARRAY JOIN {metrics_of:Array(Array(UInt16))}[ii] AS mm
      WHERE tt < toInt64(bitShiftRight(ff, 16)) + {windows:Array(Int64)}[mm]
    )
    GROUP BY e, mm
  )
SELECT m, variant, toString(d0 + d) AS day, cells
FROM (
  SELECT toUInt16(mm) AS m, v AS variant, ms.1[i] AS d,
    [toString(sum(mc.2[i])), toString(count()), toString(countIf(i = 1)), toString(sum(ms.2[i])),
     toString(sum(toInt256(cum[i]) * cum[i] - toInt256(cum[i] - ms.2[i]) * (cum[i] - ms.2[i])))] AS cells
  FROM per_entity
  ARRAY JOIN arrayEnumerate(ms.1) AS i
  GROUP BY m, variant, d
  UNION ALL
  SELECT toUInt16(0) AS m, toUInt16(bitAnd(f, 65535)) AS variant,
    toInt32(toDate(fromUnixTimestamp64Micro(toInt64(bitShiftRight(f, 16)) + {start:Int64}, 'UTC'), {tz:String}) - d0) AS d,
    [toString(count())] AS cells
  FROM ex
  GROUP BY m, variant, d
)
ORDER BY m, variant, d
SETTINGS enable_shared_storage_snapshot_in_query = 1, query_plan_join_swap_table = 'false', distributed_product_mode = 'local'
