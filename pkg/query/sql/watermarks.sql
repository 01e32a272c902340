-- Up to where each partition of the log has been stored.
SELECT topic, topic_partition, toInt64(max(to_offset)) AS upto
FROM batches
GROUP BY topic, topic_partition
ORDER BY topic, topic_partition
