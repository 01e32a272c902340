{{- /* What both questions stand on: one row per exposed entity, with all that
it did. The text's shape follows the metrics; every value is a parameter.

Times are µs since a day before the start, which no stored row that counts
precedes, twelve bits to the left of a small number:
  f   the first exposure: its time and its variant's number
  z   an event: the half of its id, then its time and its name's number
  w   the same, then its value in millionths */ -}}
{{define "people"}}
  owners AS (
    SELECT visitor, first.3 AS owner FROM identities_state FINAL WHERE project = {project:String}
  ),
  rows AS (
    SELECT anchor, user, toUInt16(indexOf({variants:Array(String)}, variant)) AS c,
      bitShiftLeft(toUInt64(toUnixTimestamp64Micro(time) - {base:Int64}), 12) + c AS x
{{- if .Names}}, toUInt128(0) AS z{{if .Valued}}, toUInt8(0) AS valued, toUInt256(0) AS w{{end}}{{end}}
    FROM exposures_raw
    WHERE {{template "exposed"}}
      AND anchor != 0 AND bitAnd(flags, {fallback:UInt8}) = 0 AND override_reason = '' AND c > 0
{{- if .Names}}
    UNION ALL
    SELECT anchor, user, toUInt16(0) AS c,
      bitShiftLeft(toUInt64(greatest(toUnixTimestamp64Micro(time) - {base:Int64}, 0)), 12) + indexOf({names:Array(String)}, name) AS x,
      bitShiftLeft(toUInt128(reinterpretAsUInt64(event_id)), 64) + x AS z
{{- if .Valued}},
      toUInt8(has({valued:Array(String)}, name)) AS valued,
      if(valued, bitShiftLeft(toUInt256(z), 64) + reinterpretAsUInt64(value_micro), toUInt256(0)) AS w
{{- end}}
    FROM kpis_raw
    WHERE project = {project:String} AND name IN {names:Array(String)}
      AND time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC')
      AND anchor != 0
{{- end}}
  ),
  -- Copies of an event lie side by side once sorted, the earliest first, and
  -- are one from there on. Copies differ in time only where the client's time
  -- was replaced by that of receipt; the earliest receipt stands.
  people AS (
    SELECT
      if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS e,
      minIf(r.x, r.c > 0) AS f,
      groupBitOrIf(bitShiftLeft(toUInt64(1), r.c), r.c > 0) AS seen
{{- if .Names}},
      arrayCompact(z -> bitShiftRight(z, 64), arraySort(groupArrayIf(r.z, r.c = 0))) AS zs
{{- if .Valued}},
      arrayCompact(w -> bitShiftRight(w, 128), arraySort(groupArrayIf(r.w, r.valued = 1))) AS ws
{{- end}}{{end}}
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
{{- if .Names}},
      arrayFilter(x -> x >= lo, arrayMap(z -> toUInt64(z), zs)) AS xs
{{- if .Valued}},
      arrayMap(w -> toUInt64(bitShiftRight(w, 64)), ws) AS wx,
      arrayFilter((y, x) -> x >= lo, arrayMap(w -> toInt64(w), ws), wx) AS ys,
      arrayFilter(x -> x >= lo, wx) AS yx
{{- end}}{{end}}
    FROM people
  )
{{- end}}

{{- /* The experiment's exposures inside its window. Of a copy whose time was
replaced only the earliest counts, and that may lie before the start. */ -}}
{{define "exposed"}}project = {project:String} AND experiment = {experiment:String}
      AND time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC')
      AND (bitAnd(flags, {moved:UInt8}) = 0 OR event_id NOT IN (
        SELECT event_id FROM exposures_raw
        WHERE project = {project:String} AND experiment = {experiment:String} AND bitAnd(flags, {moved:UInt8}) != 0
          AND received_at >= fromUnixTimestamp64Micro({base:Int64}, 'UTC') AND received_at < fromUnixTimestamp64Micro({start:Int64}, 'UTC')))
{{- end}}

{{- /* Whether an event x is what a base or funnel reads, inside its window. */ -}}
{{define "reads"}}{{if eq (len .In) 1}}bitAnd(x, 4095) = {{index .In 0}}{{else}}bitAnd(x, 4095) IN ({{range $i, $n := .In}}{{if $i}}, {{end}}{{$n}}{{end}}){{end}}
  {{- if .Window}} AND x < lo + bitShiftLeft(toUInt64({ {{- .Window}}:Int64}), 12){{end}}{{end}}
