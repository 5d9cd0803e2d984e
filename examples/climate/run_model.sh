# run_model.sh GRID PPM YEARS [STATE]: runs the model from STATE, or from its own newest complete restart file.
set -eu
grid=$1
ppm=$2
years=$3
state=${4:-}
series=$ELISA_TASK_DIR/series.csv
first=0

for marker in "$ELISA_CHECKPOINT_DIR"/restart.*.dat.done; do
  [ -e "$marker" ] || continue
  state=${marker%.done}
  first=${state##*/restart.}
  first=$(printf '%s' "${first%.dat}" | sed 's/^0*//')
done

if [ "${first:=0}" -gt 0 ]; then
  echo "restarting after year $first"
  awk -F, -v last="$first" 'NR == 1 || $1 <= last' "$series" >"$series.kept"
  mv "$series.kept" "$series"
else
  echo "year,temperature" >"$series"
fi

awk -v ppm="$ppm" -v years="$years" -v first="$first" -v series="$series" -v state="$state" \
  -v restarts="$ELISA_CHECKPOINT_DIR" -v final="$ELISA_TASK_DIR/state.dat" -f model.awk "$grid"
