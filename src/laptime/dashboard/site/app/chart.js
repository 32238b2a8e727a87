"use strict";
// Charts as SVG, drawn at the width they have: points, lines, bands and guides on linear or logarithmic axes.
// A chart is one stop of the Tab key; arrow keys walk its points, Enter opens one; below it stands a table of the same.
(function (L) {
  const COLOURS = 8, NEAR = 24;
  const EDGE = {left: 62, right: 14, top: 12, bottom: 44};
  const NAMES = 150;  // room for words instead of numbers on the upright axis
  const SHAPES = [
    (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`, (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
    (r) => `M0 ${-1.25 * r}L${1.15 * r} ${r}H${-1.15 * r}z`, (r) => `M0 ${-1.35 * r}L${1.35 * r} 0L0 ${1.35 * r}L${-1.35 * r} 0z`,
    (r) => `M0 ${1.25 * r}L${1.15 * r} ${-r}H${-1.15 * r}z`, (r) => `M${-r} ${-r}L${r} ${r}M${-r} ${r}L${r} ${-r}`,
    (r) => `M0 ${-1.3 * r}V${1.3 * r}M${-1.3 * r} 0H${1.3 * r}`, (r) => `M${-1.2 * r} 0L${-0.6 * r} ${-1.1 * r}H${0.6 * r}L${1.2 * r} 0L${0.6 * r} ${1.1 * r}H${-0.6 * r}z`];
  const OPEN = [5, 6];  // shapes that are strokes only

  L.shape = (at, r = 4.5) => SHAPES[at % SHAPES.length](r);
  L.colour = (at) => `c${at % COLOURS}`;

  // {title, text, height, x, y, series: [{name, at, points: [{x, y, hollow, cross, label: [lines], href}], line, dashed, bare}],
  //  bands: [{points: [[x, low, high]], at}], lines: [{x|y, text}]}; x, y: {label, log, low, high, ticks, format}
  L.chart = (what) => {
    const hidden = new Set();
    const box = L.h("div", {class: "plot"});
    const legend = L.h("div", {class: "legend", role: "group", "aria-label": "Series: press to hide or show"}, what.series.length < 2 && !what.legend ? [] : what.series.filter((one) => !one.silent).map((one) => {
      const button = L.h("button", {type: "button", class: "plain", "aria-pressed": "true", click: () => {
        hidden.has(one) ? hidden.delete(one) : hidden.add(one);
        button.setAttribute("aria-pressed", String(!hidden.has(one)));
        draw();
      }}, swatch(one), one.name);
      return button;
    }));
    const figure = L.h("figure", {class: "chart"}, L.h("figcaption", null, L.h("strong", null, what.title, " ", L.h("i", {class: "flag"}, "unverified")), what.text ? L.h("span", null, what.text) : null), box, legend, numbers(what));
    let width = 0;
    const draw = () => { if (width > 0) L.put(box, drawn({...what, series: what.series.filter((one) => !hidden.has(one))}, width)); };
    new ResizeObserver(() => {
      const now = Math.round(box.clientWidth);
      if (now && now !== width) { width = now; draw(); }
    }).observe(box);
    return figure;
  };

  function swatch(one) {
    const stroke = OPEN.includes(one.at % SHAPES.length) && !one.bare;
    return L.s("svg", {width: 22, height: 12, viewBox: "-11 -6 22 12", "aria-hidden": "true", class: L.colour(one.at)},
      one.line ? L.s("path", {d: "M-11 0H11", class: one.dashed ? "line dashed" : "line"}) : null,
      one.bare ? null : L.s("path", {d: L.shape(one.shape ?? one.at, 4), class: stroke || one.hollow ? "dot hollow" : "dot"}));
  }

  function numbers(what) {
    const rows = what.series.flatMap((one) => one.silent ? [] : one.points.map((point) => [one.name, point]));
    if (!rows.length || what.bareTable) return null;
    const element = L.h("details", {class: "numbers"}, L.h("summary", null, "These points as a table"));
    element.addEventListener("toggle", () => {
      if (element.childElementCount > 1) return;
      element.append(L.table(what.title, [["Series"], [what.x.label, true], [what.y.label, true], ["What"]], rows.map(([name, point]) =>
        [name, (what.x.format || L.number)(point.x), (what.y.format || L.number)(point.y), point.href ? L.h("a", {href: point.href}, (point.label || []).join(", ") || "open") : (point.label || []).join(", ")])));
    });
    return element;
  }

  function drawn(what, width) {
    const height = what.height || Math.max(260, Math.min(430, width * 0.52));
    const points = what.series.flatMap((one) => one.points.map((point) => ({point, one})));
    const bands = what.bands || [];
    const xs = [...points.map(({point}) => point.x), ...bands.flatMap((one) => one.points.map((p) => p[0])), ...(what.lines || []).filter((one) => one.x !== undefined).map((one) => one.x)];
    const ys = [...points.map(({point}) => point.y), ...bands.flatMap((one) => one.points.flatMap((p) => [p[1], p[2]])), ...(what.lines || []).filter((one) => one.y !== undefined).map((one) => one.y)];
    const left = what.y.names ? Math.min(NAMES, width * 0.36) : EDGE.left;
    const x = scale(what.x, xs, left, width - EDGE.right), y = scale(what.y, ys, height - EDGE.bottom, EDGE.top);
    const svg = L.s("svg", {viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "img", "aria-label": `${what.title}. ${what.text || ""} ${L.plural(points.length, "point")}. Arrow keys walk them, Enter opens one.`});
    svg.append(axes(what, x, y, left, width, height));
    const inside = L.s("g");
    for (const one of bands) inside.append(L.s("path", {class: `band ${L.colour(one.at || 0)}`, d: outline(one.points, x, y)}));
    for (const one of what.lines || []) inside.append(guide(one, x, y, left, width, height));
    for (const one of what.series) if (one.line) inside.append(L.s("path", {class: `line ${L.colour(one.at)}${one.dashed ? " dashed" : ""}${one.faint ? " faint" : ""}`, d: path(one.points, x, y)}));
    for (const one of what.series) {
      if (one.bare) continue;
      const stroke = OPEN.includes((one.shape ?? one.at) % SHAPES.length);
      for (const point of one.points) {
        inside.append(L.s("path", {class: `dot ${L.colour(one.at)}${point.hollow || stroke || point.cross ? " hollow" : ""}`,
          d: L.shape(point.cross ? 5 : one.shape ?? one.at, point.size || 4.5), transform: `translate(${x(point.x).toFixed(1)} ${y(point.y).toFixed(1)})`}));
      }
    }
    svg.append(inside);
    const ring = L.s("circle", {r: 9, class: "ring", visibility: "hidden"});
    svg.append(ring);
    walk(svg, ring, points.filter(({one}) => !one.deaf).map(({point, one}) => ({point, one, px: x(point.x), py: y(point.y)})), what, width);
    return svg;
  }

  function scale(axis, values, from, to) {
    const real = values.filter((value) => Number.isFinite(value) && (!axis.log || value > 0));
    let low = axis.low ?? Math.min(...real), high = axis.high ?? Math.max(...real);
    if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = axis.log ? [1, 10] : [0, 1];
    if (low === high) [low, high] = axis.log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    const f = axis.log ? Math.log : (value) => value;
    const room = (f(high) - f(low)) * 0.04;
    const [a, b] = [f(low) - (axis.low === undefined ? room : 0), f(high) + (axis.high === undefined ? room : 0)];
    const place = (value) => from + (f(value) - a) / (b - a) * (to - from);
    place.ends = axis.log ? [Math.exp(a), Math.exp(b)] : [a, b];
    place.size = Math.abs(to - from);
    return place;
  }

  function ticks(axis, place, gap) {
    const [low, high] = [...place.ends].sort((a, b) => a - b), most = Math.max(2, Math.floor(place.size / gap));
    if (axis.ticks) return thin(axis.ticks.filter((value) => value >= low && value <= high), most);
    if (!axis.log) {
      const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
      const found = [];
      for (let at = Math.ceil(low / step); at * step <= high; at++) found.push(at * step);
      return found;
    }
    const steps = [[1, 2, 5], [1, 3], [1]].map((bases) => logTicks(low, high, bases)).find((list) => list.length <= most);
    return steps && steps.length > 1 ? steps : thin(logTicks(low, high, [1, 1.5, 2, 3, 5, 7]), most);
  }
  function logTicks(low, high, bases) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) for (const base of bases) {
      const value = Number((base * 10 ** power).toPrecision(3));
      if (value >= low && value <= high) found.push(value);
    }
    return found;
  }
  const thin = (list, most) => list.filter((_, at) => at % Math.ceil(list.length / most) === 0);

  function axes(what, x, y, left, width, height) {
    const group = L.s("g", {class: "axes"}), base = height - EDGE.bottom;
    const xText = what.x.format || L.number, yText = what.y.format || L.number;
    for (const value of ticks(what.y, y, what.y.names ? 12 : 34)) {
      group.append(L.s("path", {class: "grid", d: `M${left} ${y(value).toFixed(1)}H${width - EDGE.right}`}),
        L.s("text", {x: left - 8, y: y(value) + 4, "text-anchor": "end"}, yText(value)));
    }
    for (const value of ticks(what.x, x, what.x.gap || 62)) {
      group.append(L.s("path", {class: "grid", d: `M${x(value).toFixed(1)} ${EDGE.top}V${base}`}),
        L.s("text", {x: x(value), y: base + 17, "text-anchor": "middle"}, xText(value)));
    }
    group.append(L.s("path", {class: "axis", d: `M${left} ${EDGE.top}V${base}H${width - EDGE.right}`}),
      L.s("text", {x: (left + width - EDGE.right) / 2, y: height - 6, "text-anchor": "middle", class: "label"}, what.x.label + (what.x.log ? " (log)" : "")),
      L.s("text", {transform: `translate(14 ${(EDGE.top + base) / 2}) rotate(-90)`, "text-anchor": "middle", class: "label"}, what.y.label + (what.y.log ? " (log)" : "")));
    return group;
  }

  function guide(one, x, y, left, width, height) {
    const vertical = one.x !== undefined, place = vertical ? x(one.x) : y(one.y);
    const d = vertical ? `M${place} ${EDGE.top}V${height - EDGE.bottom}` : `M${left} ${place}H${width - EDGE.right}`;
    const at = vertical ? {x: place + 4, y: EDGE.top + 10} : {x: width - EDGE.right - 4, y: place - 5, "text-anchor": "end"};
    return L.s("g", {class: "guide"}, L.s("path", {d}), one.text ? L.s("text", at, one.text) : null);
  }

  function path(points, x, y) {
    let pen = "M", d = "";
    for (const point of points) {
      if (point.gap) pen = "M";
      d += `${pen}${x(point.x).toFixed(1)} ${y(point.y).toFixed(1)}`;
      pen = "L";
    }
    return d;
  }
  function outline(points, x, y) {
    if (!points.length) return "";
    const there = points.map(([at, , high]) => `${x(at).toFixed(1)} ${y(high).toFixed(1)}`);
    const back = [...points].reverse().map(([at, low]) => `${x(at).toFixed(1)} ${y(low).toFixed(1)}`);
    return `M${[...there, ...back].join("L")}z`;
  }

  function walk(svg, ring, places, what, width) {
    let now = -1;
    const order = [...places].sort((a, b) => a.px - b.px || a.py - b.py);
    const show = (place, event) => {
      now = order.indexOf(place);
      ring.setAttribute("visibility", place ? "visible" : "hidden");
      if (!place) { L.hideCard(); svg.style.cursor = ""; return; }
      ring.setAttribute("cx", place.px);
      ring.setAttribute("cy", place.py);
      svg.style.cursor = place.point.href ? "pointer" : "";
      const frame = svg.getBoundingClientRect(), factor = frame.width / width;
      const lines = [place.one.name, ...(place.point.label || []), `${what.x.label}: ${(what.x.format || L.number)(place.point.x)}`, `${what.y.label}: ${(what.y.format || L.number)(place.point.y)}`];
      L.showCard(lines, frame.left + place.px * factor, frame.top + place.py * factor);
      if (!event) L.say(lines.join(", "));
    };
    const near = (event) => {
      const frame = svg.getBoundingClientRect(), factor = width / frame.width;
      const [px, py] = [(event.clientX - frame.left) * factor, (event.clientY - frame.top) * factor];
      let best = null, least = NEAR * NEAR;
      for (const place of places) {
        const distance = (place.px - px) ** 2 + (place.py - py) ** 2;
        if (distance < least) [best, least] = [place, distance];
      }
      return best;
    };
    svg.addEventListener("pointermove", (event) => show(near(event), event));
    svg.addEventListener("pointerleave", () => show(null));
    svg.addEventListener("click", (event) => { const place = near(event); if (place && place.point.href) L.go(place.point.href); });
    svg.addEventListener("blur", () => show(null));
    svg.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (step && order.length) { show(order[(now + step + order.length) % order.length]); event.preventDefault(); }
      else if (event.key === "Enter" && now >= 0 && order[now].point.href) L.go(order[now].point.href);
    });
  }

  L.showCard = (lines, left, top) => {
    const card = document.getElementById("card");
    L.put(card, lines.map((line, at) => L.h(at ? "span" : "strong", null, line)));
    card.hidden = false;
    const width = card.offsetWidth, height = card.offsetHeight;
    card.style.left = `${Math.max(8, Math.min(window.innerWidth - width - 8, left + 14))}px`;
    card.style.top = `${top + 14 + height > window.innerHeight ? Math.max(8, top - height - 14) : top + 14}px`;
  };
  L.hideCard = () => { document.getElementById("card").hidden = true; };
})(window.Laptime = window.Laptime || {});
