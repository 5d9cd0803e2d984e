# Writes the temperature at the end of every scenario that has one.
set -eu
table=$ELISA_TASK_DIR/warming.csv
echo "ppm,temperature" >"$table"
for series in "$ELISA_PIPELINE_DIR"/scenario-ppm=*/series.csv; do
  name=${series%/series.csv}
  echo "${name##*=},$(tail -n 1 "$series" | cut -d, -f2)" >>"$table"
done
sort -t, -k1,1n -o "$table" "$table"
cat "$table"
