// Threshold and prevalence over the test scores. Plain JavaScript: no library, nothing is fetched.
(function () {
  "use strict";

  const Z = 1.959963984540054; // of a 95 % interval

  /** Wilson's interval of k among n: [value, low, high]; NaN without images. */
  function wilson(k, n) {
    if (!n) return [NaN, NaN, NaN];
    const p = k / n, z2 = Z * Z / n, middle = (p + z2 / 2) / (1 + z2);
    const half = (Z / (1 + z2)) * Math.sqrt(p * (1 - p) / n + z2 / (4 * n));
    return [p, k === 0 ? 0 : middle - half, k === n ? 1 : middle + half];
  }

  /** The four counts; a score at the threshold counts as positive. */
  function counts(data, t) {
    const c = { tp: 0, fn: 0, fp: 0, tn: 0 };
    data.score.forEach((s, i) => { c[data.label[i] ? (s >= t ? "tp" : "fn") : (s >= t ? "fp" : "tn")] += 1; });
    return c;
  }

  /** Bayes's rule: NaN where nobody is called so. */
  const ppv = (se, sp, p) => (se * p) / (se * p + (1 - sp) * (1 - p));
  const npv = (se, sp, p) => (sp * (1 - p)) / (sp * (1 - p) + (1 - se) * p);

  /** All that is shown, as [value, low, high]. */
  function rates(data, t, p) {
    const c = counts(data, t), se = wilson(c.tp, c.tp + c.fn), sp = wilson(c.tn, c.tn + c.fp);
    return {
      counts: c, sensitivity: se, specificity: sp,
      ppv: [0, 1, 2].map((i) => ppv(se[i], sp[i], p)), npv: [0, 1, 2].map((i) => npv(se[i], sp[i], p)),
    };
  }

  /** ROC points from (0, 0) to (1, 1), and the area under them: pairs sorted right, ties half. */
  function roc(data) {
    const order = [...data.score.keys()].sort((a, b) => data.score[b] - data.score[a]);
    const pos = data.label.filter(Boolean).length, neg = data.label.length - pos;
    const points = [[0, 0]];
    let tp = 0, fp = 0, area = 0;
    order.forEach((i, k) => {
      data.label[i] ? (tp += 1) : (fp += 1);
      if (k === order.length - 1 || data.score[order[k + 1]] !== data.score[i]) {
        const [x, y] = points[points.length - 1];
        points.push([fp / neg, tp / pos]);
        area += (fp / neg - x) * (tp / pos + y) / 2;
      }
    });
    return { points, area };
  }

  /** Whole numbers that add up to `total`, as near to `parts` as can be. */
  function whole(parts, total) {
    const floor = parts.map(Math.floor);
    let left = total - floor.reduce((a, b) => a + b, 0);
    [...parts.keys()].sort((a, b) => (parts[b] - floor[b]) - (parts[a] - floor[a]))
      .forEach((i) => { if (left > 0) { floor[i] += 1; left -= 1; } });
    return floor;
  }

  window.fracturePlay = { wilson, counts, rates, roc, whole };

  const root = document.getElementById("threshold-player");
  if (!root) return;
  const data = JSON.parse(document.getElementById("scores-data").textContent);
  const $ = (id) => document.getElementById(id);
  const two = (x) => (Number.isFinite(x) ? x.toFixed(2) : "–");
  const curve = roc(data);
  let cut = data.marks[0].threshold; // exactly, where the slider has steps
  const BINS = 25, BARS = bars();

  function bars() {
    const bins = [new Array(BINS).fill(0), new Array(BINS).fill(0)];
    data.score.forEach((s, i) => { bins[data.label[i]][Math.min(BINS - 1, Math.floor(s * BINS))] += 1; });
    return bins;
  }

  function drawHistogram(t) {
    const left = 8, width = 344, middle = 96, most = Math.max(...BARS[0], ...BARS[1]);
    const x = (s) => left + s * width, height = (k) => (k / most) * 84, gap = 1;
    let out = "";
    for (let b = 0; b < BINS; b += 1) {
      for (const label of [1, 0]) {
        const k = BARS[label][b];
        if (!k) continue;
        // A bar that the threshold cuts is drawn in two shades.
        const edges = [b / BINS, Math.min(Math.max(t, b / BINS), (b + 1) / BINS), (b + 1) / BINS];
        for (const side of [0, 1]) {
          const x0 = x(edges[side]) + (side === 0 || edges[1] === edges[0] ? gap / 2 : 0);
          const x1 = x(edges[side + 1]) - (side === 1 || edges[1] === edges[2] ? gap / 2 : 0);
          if (x1 <= x0) continue;
          const y = label ? middle - height(k) : middle;
          out += `<rect x="${x0.toFixed(2)}" y="${y.toFixed(2)}" width="${(x1 - x0).toFixed(2)}" height="${height(k).toFixed(2)}"` +
            ` class="${label ? "frac" : "sound"}${side ? "" : " pale"}"/>`;
        }
      }
    }
    out += `<line x1="${left}" x2="${left + width}" y1="${middle}" y2="${middle}" class="axis"/>`;
    for (const s of [0, 0.25, 0.5, 0.75, 1]) {
      out += `<text x="${x(s)}" y="198" text-anchor="${s === 0 ? "start" : s === 1 ? "end" : "middle"}">${s}</text>`;
    }
    out += `<text x="${x(0.5)}" y="212" text-anchor="middle" class="quiet">score</text>`;
    out += `<line x1="${x(t)}" x2="${x(t)}" y1="4" y2="184" class="cut"/>`;
    $("hist").innerHTML = out;
  }

  function drawRoc(now) {
    const x = (v) => 34 + v * 190, y = (v) => 8 + (1 - v) * 166;
    const path = curve.points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    const [se, seLow, seHigh] = now.sensitivity, [sp, spLow, spHigh] = now.specificity;
    let out = `<rect x="${x(0)}" y="${y(1)}" width="190" height="166" class="frame"/>` +
      `<line x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}" class="coin"/><polyline points="${path}" class="roc"/>` +
      `<line x1="${x(1 - spHigh)}" x2="${x(1 - spLow)}" y1="${y(se)}" y2="${y(se)}" class="bar"/>` +
      `<line x1="${x(1 - sp)}" x2="${x(1 - sp)}" y1="${y(seLow)}" y2="${y(seHigh)}" class="bar"/>` +
      `<circle cx="${x(1 - sp)}" cy="${y(se)}" r="5" class="here"/>`;
    for (const v of [0, 0.5, 1]) {
      out += `<text x="${x(v)}" y="190" text-anchor="${v === 1 ? "end" : v ? "middle" : "start"}">${v}</text>` +
        `<text x="30" y="${y(v) + 4}" text-anchor="end">${v}</text>`;
    }
    out += `<text x="${x(0.5)}" y="208" text-anchor="middle" class="quiet">false positive rate</text>` +
      `<text transform="translate(10 ${y(0.5)}) rotate(-90)" text-anchor="middle" class="quiet">sensitivity</text>` +
      `<text x="${x(0.97)}" y="${y(0.06)}" text-anchor="end">AUC ${two(curve.area)}</text>`;
    $("roc").innerHTML = out;
  }

  function drawPeople(now, p) {
    const total = 1000, columns = 50, cell = 10, se = now.sensitivity[0], sp = now.specificity[0];
    const parts = whole([p * se, p * (1 - se), (1 - p) * (1 - sp), (1 - p) * sp].map((v) => v * total), total);
    const kinds = ["tp", "fn", "fp", "tn"];
    let at = 0, out = "";
    parts.forEach((n, k) => {
      let d = "";
      for (let i = 0; i < n; i += 1, at += 1) {
        d += `M${(at % columns) * cell + 1} ${Math.floor(at / columns) * cell + 1}h8v8h-8z`;
      }
      if (d) out += `<path d="${d}" class="${kinds[k]}"/>`;
    });
    const [tp, fn, fp, tn] = parts;
    $("people").innerHTML = out;
    $("people-says").innerHTML = `Of <b>1,000 images</b> taken on suspicion there, <span class="key k-tp">${tp} fractures are found</span>, ` +
      `<span class="key k-fn">${fn} are missed</span>, <span class="key k-fp">${fp} are false alarms</span>, and ` +
      `<span class="key k-tn">${tn} are rightly called not fractured</span>. ` +
      (tp + fp ? `Of ${tp + fp} positive calls, ${tp} ${tp === 1 ? "is" : "are"} right.` : "Nothing is called fractured.");
    $("people").setAttribute("aria-label", `1,000 squares: ${tp} found, ${fn} missed, ${fp} false alarms, ${tn} rightly left alone`);
  }

  function draw() {
    const t = cut, p = Number($("p").value), now = rates(data, t, p), c = now.counts;
    $("t-out").textContent = t.toFixed(3);
    $("p-out").textContent = `${(100 * p).toFixed(1)} %`;
    $("t").setAttribute("aria-valuetext", t.toFixed(3));
    $("p").setAttribute("aria-valuetext", `${(100 * p).toFixed(1)} percent`);
    const row = (name, of, [v, low, high]) => `<tr><th scope="row">${name}<span class="of">${of}</span></th>` +
      `<td class="big">${two(v)}</td><td>${Number.isFinite(v) ? `${two(low)} to ${two(high)}` : "no such call"}</td>` +
      `<td class="strip"><span style="left:${(100 * (low || 0)).toFixed(1)}%;right:${(100 - 100 * (high || 0)).toFixed(1)}%"></span>` +
      `<i style="left:${(100 * (v || 0)).toFixed(1)}%"></i></td></tr>`;
    const at = `at ${(100 * p).toFixed(1)} % prevalence`;
    $("rates").tBodies[0].innerHTML =
      row("sensitivity", `${c.tp} of ${c.tp + c.fn} found`, now.sensitivity) +
      row("specificity", `${c.tn} of ${c.tn + c.fp} left alone`, now.specificity) +
      row("PPV", at, now.ppv) + row("NPV", at, now.npv);
    $("counts").tBodies[0].innerHTML =
      `<tr><th scope="row">called fractured</th><td class="c-tp">${c.tp}</td><td class="c-fp">${c.fp}</td></tr>` +
      `<tr><th scope="row">not called</th><td class="c-fn">${c.fn}</td><td class="c-tn">${c.tn}</td></tr>`;
    drawHistogram(t);
    drawRoc(now);
    drawPeople(now, p);
    $("hist").setAttribute("aria-label", `Scores of ${data.score.length} test images by class, cut at ${t.toFixed(3)}: ` +
      `${c.tp + c.fp} are called fractured`);
    $("roc").setAttribute("aria-label", `ROC curve, area ${two(curve.area)}; you are at sensitivity ${two(now.sensitivity[0])} ` +
      `and specificity ${two(now.specificity[0])}`);
    [...$("t-buttons").children].forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.t) === t)));
  }

  for (const mark of data.marks) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = mark.name;
    button.title = mark.says;
    button.dataset.t = mark.threshold;
    button.addEventListener("click", () => { cut = mark.threshold; $("t").value = cut; draw(); });
    $("t-buttons").append(button);
  }
  $("t").value = cut;
  $("p").value = data.prevalence;
  $("t").addEventListener("input", () => { cut = Number($("t").value); draw(); });
  $("p").addEventListener("input", draw);
  draw();
})();
