"use strict";
// The ratio of two results with a 95 % interval: delta method on the logarithm, Welch's degrees of freedom, Student's t.
// Each side brings its relative standard error and degrees of freedom (see data/index.js).
(function (L) {
  const LEVEL = 0.95;
  // Lanczos approximation of log gamma: g = 7, n = 9 (Press et al., Numerical Recipes, section 6.1)
  const LANCZOS = [0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];

  function logGamma(x) {
    const t = x + 6.5;
    const sum = LANCZOS.reduce((total, one, at) => at === 0 ? one : total + one / (x - 1 + at), 0);
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  // Regularised incomplete beta function by its continued fraction (Abramowitz & Stegun 26.5.8).
  function beta(a, b, x) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - beta(b, a, 1 - x);
    const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
    const safe = (value) => Math.abs(value) < 1e-300 ? 1e-300 : value;
    let c = 1, d = 1 / safe(1 - (a + b) * x / (a + 1)), value = d;
    for (let m = 1; m < 500; m++) {
      for (const one of [m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))]) {
        d = 1 / safe(1 + one * d);
        c = safe(1 + one / c);
        value *= c * d;
      }
      if (Math.abs(c * d - 1) < 1e-15) break;
    }
    return front / a * value;
  }

  L.studentQuantile = (p, freedom) => {
    const below = (t) => 1 - 0.5 * beta(freedom / 2, 0.5, freedom / (freedom + t * t));
    let low = 0, high = 1;
    while (below(high) < p) { low = high; high *= 2; }
    for (let step = 0; step < 100; step++) {
      const middle = (low + high) / 2;
      if (below(middle) < p) low = middle; else high = middle;
    }
    return (low + high) / 2;
  };

  // {ratio, low, high}: minutes of `row` over those of `base`; low and high null where a side has no spread to tell.
  L.ratio = (row, base) => {
    if (row.minutes === null || base.minutes === null) return null;
    const ratio = row.minutes / base.minutes;
    if (row.deviation === null || base.deviation === null) return {ratio, low: null, high: null};
    const [a, b] = [row.deviation ** 2, base.deviation ** 2], error = Math.sqrt(a + b);
    if (error === 0) return {ratio, low: ratio, high: ratio};
    const freedom = (a + b) ** 2 / (a * a / row.freedom + b * b / base.freedom);
    const reach = L.studentQuantile(0.5 + LEVEL / 2, freedom) * error;
    return {ratio, low: ratio * Math.exp(-reach), high: ratio * Math.exp(reach)};
  };

  // Why two results must not be compared; empty: they may.
  L.notComparable = (row, base) => {
    const why = [];
    if (row.benchmark !== base.benchmark) why.push("different benchmarks");
    else if (row.comparable_since !== base.comparable_since) why.push("different targets, models or clocks");
    if (row.division !== base.division) why.push("different divisions");
    return why;
  };
  L.caveats = (row, base) => {
    const why = [];
    if (row.round !== base.round) why.push("different rounds");
    if (row.chips !== base.chips) why.push("different numbers of chips");
    if (row.availability !== base.availability) why.push("different availability");
    return why;
  };
})(window.Laptime = window.Laptime || {});
