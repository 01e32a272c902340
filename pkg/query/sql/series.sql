{{- /* Daily numbers by the project's calendar, one pass for all. base numbers
what the metrics are read from; 0 counts the entities first exposed that day.

cum is what an entity had come to with each of its events: as the squares of
neighbours differ by the day's step, the squares of the cumulative series come
out exactly. */ -}}
WITH
  toDate(fromUnixTimestamp64Micro({start:Int64}, 'UTC'), {tz:String}) AS day0,
{{- template "people" .}},
  per_event AS (
    SELECT v, m, d, y, cum, starts
    FROM (
      SELECT v,
{{- range $j, $b := .Bases}}
{{- if $b.Valued}}
        arraySort(arrayFilter(x -> {{template "reads" $b}}, yx)) AS b{{$j}},
        arrayMap(y -> toInt128(y), arraySort((y, x) -> x, arrayFilter((y, x) -> {{template "reads" $b}}, ys, yx), arrayFilter(x -> {{template "reads" $b}}, yx))) AS y{{$j}},
{{- else}}
        arraySort(arrayFilter(x -> {{template "reads" $b}}, xs)) AS b{{$j}},
        arrayMap(x -> toInt128(1), b{{$j}}) AS y{{$j}},
{{- end}}
        arrayMap(x -> {{template "day" "x"}}, b{{$j}}) AS d{{$j}},
{{- end}}
        arrayConcat([toUInt16(0)]{{range $j, $b := .Bases}}, arrayMap(x -> toUInt16({{$b.Number}}), b{{$j}}){{end}}) AS ms,
        arrayConcat([{{template "day" "lo"}}]{{range $j, $b := .Bases}}, d{{$j}}{{end}}) AS ds,
        arrayConcat([toInt128(0)]{{range $j, $b := .Bases}}, y{{$j}}{{end}}) AS vs,
        arrayConcat([toInt128(0)]{{range $j, $b := .Bases}}, arrayCumSum(y{{$j}}){{end}}) AS cs,
        -- 2: the entity's first event, 1: its first of a day
        arrayConcat([toUInt8(2)]{{range $j, $b := .Bases}}, arrayMap((step, i) -> toUInt8(multiIf(i = 1, 2, step != 0, 1, 0)), arrayDifference(d{{$j}}), arrayEnumerate(d{{$j}})){{end}}) AS ss
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
{{- define "day"}}toInt32(toDate(fromUnixTimestamp64Micro(toInt64(bitShiftRight({{.}}, 12)) + {base:Int64}, 'UTC'), {tz:String}) - day0){{end}}
