// Sizes and times as text, as entracte/units.py writes them.
/** Three digits (four above 999), fewer where they say it exactly. */
function formatBytes(count) {
  let value = count;
  let unit = 'B';
  for (unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1023.5 || unit === 'GiB') break;
    value /= 1024;
  }
  const text = value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
  return `${Number(text) === value ? Number(text) : text} ${unit}`;
}

function formatSeconds(seconds) {
  if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(0)} us`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 60) return `${seconds.toFixed(2)} s`;
  const whole = Math.floor(seconds + 0.5);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A moment in the unit that suits `largest`, told to `step` seconds: no digits that say nothing. */
function formatMoment(seconds, step, largest) {
  if (seconds === 0) return '0';
  const [scale, unit] = largest >= 1 ? [1, 's'] : largest >= 1e-3 ? [1e3, 'ms'] : [1e6, 'us'];
  const digits = Math.max(0, -Math.floor(Math.log10(step * scale) + 1e-9));
  return `${(seconds * scale).toFixed(Math.min(digits, 9))} ${unit}`;
}

/** A round distance between the labels of an axis of bytes, `rough` or a little more. */
function niceBytes(rough) {
  const unit = 1024 ** Math.floor(Math.log(Math.max(1, rough)) / Math.log(1024));
  const steps = [1, 2, 5, 10, 20, 50, 128, 256, 512, 1024];
  return unit * steps.find((s) => s * unit >= rough);
}

/** The label of an axis: nothing is no unit's. */
const axisBytes = (count) => (count ? formatBytes(count) : '0');
