# One-dimensional energy balance: sunlight in, heat out, and diffusion between bands of equal area (North 1975).
#   C dT/dt = S(x) (1 - albedo(T)) - (203.3 + 2.09 T - 5.35 ln(ppm/280)) + d/dx [ 0.55 (1 - x^2) dT/dx ]
{ x[++n] = $1; T[n] = 12 - 40 * ($1 * $1 - 1 / 3) }
END {
  if (state != "") for (i = 1; i <= n && (getline line <state) > 0; i++) T[i] = line
  dt = 5 * 86400; heat = 2.1e8; dx = 2 / n
  for (year = first + 1; year <= years; year++) {
    for (step = 1; step <= 73; step++) advance()
    mean = 0
    for (i = 1; i <= n; i++) mean += T[i] / n
    printf "%d,%.4f\n", year, mean >>series
    if (year % 20 == 0 || year == years) save(sprintf("%s/restart.%05d.dat", restarts, year))
  }
  write(final)
  printf "%s ppm: %.2f degrees after %d years\n", ppm, mean, years
}
function advance(  i, edge, flux, before) {
  before = 0
  for (i = 1; i <= n; i++) {
    edge = -1 + i * dx
    flux = i < n ? 0.55 * (1 - edge * edge) * (T[i + 1] - T[i]) / dx : 0
    sun = 340 * (1 - 0.24 * (3 * x[i] * x[i] - 1))
    dT[i] = sun * (1 - (T[i] < -10 ? 0.62 : 0.3)) - (203.3 + 2.09 * T[i] - 5.35 * log(ppm / 280)) + (flux - before) / dx
    before = flux
  }
  for (i = 1; i <= n; i++) T[i] += dt * dT[i] / heat
}
function write(path,  i) {
  for (i = 1; i <= n; i++) printf "%.17g\n", T[i] >path
  close(path)
}
function save(path) {
  write(path)
  close(series)
  print "" >(path ".done")
  close(path ".done")
}
