// The plots. Each function takes records of the report and gives a function from a width to an SVG.

// The base model and the trained model have one colour each wherever they stand beside another.
const COLOURS = ["var(--c2)", "var(--c1)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"];
const SHAPES = ["circle", "square", "triangle", "diamond", "star", "wye"];
const LEVELS = [0, 1, 2, 3, 4, 5];
const STYLE = { fontSize: "12px", fontFamily: "inherit", overflow: "visible" };
const TIP = { fontSize: 12, fontFamily: "inherit" };

function lookOf(model) {
  if (model === report.model) return 0;
  if (model === report.after) return 1;
  const others = [...new Set(report.evaluations.flatMap((one) => one.samples.map(([name]) => name)))]
    .filter((name) => name !== report.model && name !== report.after);
  return 2 + (Math.max(0, others.indexOf(model)) % (COLOURS.length - 2));
}

function levelsPlot(histogram, top) {
  const known = histogram.lines.filter((line) => line.level !== null);
  const total = sum(known.map((line) => line.questions));
  const rows = LEVELS.map((level) => {
    const line = known.find((one) => one.level === level);
    return { level, questions: line ? line.questions : 0, share: line ? (100 * line.questions) / total : 0 };
  });
  return (width) => Plot.plot({
    width, height: 210, marginLeft: 36, marginRight: 4, marginBottom: 36, style: STYLE,
    x: { type: "band", domain: LEVELS, label: "Level", labelAnchor: "center", labelArrow: "none", padding: 0.2, tickSize: 0 },
    y: { domain: [0, top], label: "Questions, %", ticks: 4, tickSize: 0 },
    marks: [
      Plot.gridY({ ticks: 4, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.barY(rows, {
        x: "level", y: "share", fill: (row) => (row.level === 0 ? "var(--c5)" : "var(--c1)"),
        title: (row) => `Level ${row.level}: ${count(row.questions)} questions, ${row.share.toFixed(1)} %`, tip: TIP,
      }),
      Plot.text(rows, { x: "level", y: "share", text: (row) => count(row.questions), dy: -7 }),
      Plot.ruleY([0], { stroke: "var(--soft)" }),
    ],
  });
}

function movesPlot(moves) {
  const cells = moves.counts.map(([first, second, questions]) => ({ first, second, questions }));
  const most = Math.max(...cells.map((cell) => cell.questions));
  const strength = (cell) => 0.06 + 0.94 * Math.sqrt(cell.questions / most);
  return (width) => Plot.plot({
    width: Math.min(width, 470), height: 330, marginLeft: 46, marginBottom: 40, marginTop: 26, style: STYLE, padding: 0.04,
    x: { type: "band", domain: LEVELS, label: `Level for ${shortened(moves.second, 30)}`, labelAnchor: "center", labelArrow: "none", tickSize: 0 },
    y: { type: "band", domain: LEVELS, label: `Level for ${shortened(moves.first, 30)}`, labelAnchor: "top", labelArrow: "none", tickSize: 0 },
    marks: [
      Plot.cell(cells, {
        x: "second", y: "first", fill: "var(--c1)", fillOpacity: strength,
        title: (cell) => `${count(cell.questions)} questions: level ${cell.first} for ${moves.first}, ${cell.second} for ${moves.second}`,
        tip: TIP,
      }),
      Plot.cell(LEVELS, { x: (level) => level, y: (level) => level, stroke: "var(--ink)", fill: "none", inset: 0.5 }),
      Plot.text(cells, {
        x: "second", y: "first", text: (cell) => count(cell.questions),
        fill: (cell) => (strength(cell) > 0.55 ? "var(--on-c1)" : "var(--ink)"),
      }),
    ],
  });
}

function mixPlot(mix) {
  const lines = mix.lines;
  const words = (line) => `Level ${line.level}: ${count(line.asked)} asked, ${count(line.drawn)} drawn, ${count(line.finished)} finished`;
  const top = Math.max(1, ...lines.flatMap((line) => [line.asked, line.drawn, line.finished]));
  return (width) => Plot.plot({
    width, height: 230, marginLeft: 44, marginRight: 4, marginBottom: 36, style: STYLE,
    x: { type: "band", domain: LEVELS, label: "Level", labelAnchor: "center", labelArrow: "none", padding: 0.2, tickSize: 0 },
    y: { domain: [0, top * 1.1], label: "Questions", ticks: 4, tickSize: 0 },
    marks: [
      Plot.gridY({ ticks: 4, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.barY(lines, { x: "level", y: "drawn", fill: "var(--pale)", title: words, tip: TIP }),
      Plot.barY(lines, { x: "level", y: "finished", fill: "var(--c1)", insetLeft: 9, insetRight: 9 }),
      Plot.tickY(lines, { x: "level", y: "asked", stroke: "var(--c2)", strokeWidth: 3, insetLeft: -3, insetRight: -3 }),
      Plot.ruleY([0], { stroke: "var(--soft)" }),
      Plot.text(lines, {
        x: "level", y: (line) => Math.max(line.asked, line.drawn, line.finished), text: (line) => count(line.finished), dy: -8,
      }),
    ],
  });
}

function scorePlot(split) {
  const bins = split.lines[0].counts.length;
  const rows = split.lines.flatMap((line) => line.counts.map((attempts, bin) => ({
    outcome: line.outcome, low: bin / bins, high: (bin + 1) / bins, attempts, share: (100 * attempts) / line.attempts,
  })));
  const outcomes = split.lines.map((line) => line.outcome);
  const top = Math.max(...rows.map((row) => row.share));
  const colour = (outcome) => ({ correct: "var(--c1)", wrong: "var(--c2)" })[outcome] || "var(--c5)";
  return (width) => Plot.plot({
    width, height: 60 + 120 * outcomes.length, marginLeft: 44, marginRight: 78, marginBottom: 38, style: STYLE,
    x: { domain: [0, 1], label: "Mean step score of an attempt", labelAnchor: "center", labelArrow: "none", tickSize: 0 },
    y: { domain: [0, 1.25 * top], label: "Attempts, %", ticks: 3, tickSize: 0 },
    fy: { domain: outcomes, label: null, padding: 0.14 },
    marks: [
      Plot.gridY({ ticks: 3, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.rectY(rows, {
        fy: "outcome", x1: "low", x2: "high", y: "share", fill: (row) => colour(row.outcome), inset: 0.5,
        title: (row) => `${row.outcome}, ${row.low.toFixed(2)} to ${row.high.toFixed(2)}: ${count(row.attempts)} attempts`, tip: TIP,
      }),
      Plot.ruleX(split.lines, { fy: "outcome", x: "mean", stroke: "var(--ink)", strokeDasharray: "3 3" }),
      Plot.text(split.lines, {
        fy: "outcome", x: "mean", y: 1.17 * top, text: (line) => `mean ${line.mean.toFixed(2)}`, textAnchor: "start", dx: 5,
      }),
      Plot.ruleY([0], { stroke: "var(--soft)" }),
    ],
  });
}

function yieldPlot(lines) {
  const names = lines.map((line) => levelName(line.level === null ? "all" : line.level));
  const rows = lines.map((line, at) => ({ ...line, name: names[at] }));
  return (width) => Plot.plot({
    width, height: 44 + 26 * rows.length, marginLeft: 52, marginRight: 44, marginBottom: 36, style: STYLE,
    x: { domain: [0, 100], label: "Correct answers, % of attempts", labelAnchor: "center", labelArrow: "none", ticks: 5, tickSize: 0 },
    y: { domain: names, label: null, tickSize: 0 },
    marks: [
      Plot.gridX({ ticks: 5, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.ruleY(rows, { y: "name", x1: (row) => 100 * row.low, x2: (row) => 100 * row.high, stroke: "var(--c1)", strokeWidth: 2 }),
      Plot.dot(rows, {
        y: "name", x: (row) => 100 * row.share, r: 4.5, fill: "var(--c1)", tip: TIP,
        title: (row) => `${row.name}: ${count(row.correct)} of ${count(row.attempts)} correct (95 %: ${percent(row.low)} to ${percent(row.high)})`,
      }),
      Plot.text(rows, { y: "name", x: (row) => 100 * row.high, text: (row) => (100 * row.share).toFixed(0), dx: 8, textAnchor: "start" }),
    ],
  });
}

function amountPlot(lines, key, label, format) {
  const rows = lines.filter((line) => line[key] !== null).map((line) => ({ ...line, name: levelName(line.level === null ? "all" : line.level) }));
  return (width) => Plot.plot({
    width, height: 44 + 26 * rows.length, marginLeft: 52, marginRight: 52, marginBottom: 36, style: STYLE,
    x: { label, labelAnchor: "center", labelArrow: "none", ticks: 4, tickSize: 0, zero: true },
    y: { domain: rows.map((row) => row.name), label: null, tickSize: 0, padding: 0.3 },
    marks: [
      Plot.gridX({ ticks: 4, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.barX(rows, {
        y: "name", x: key, fill: (row) => (row.level === null ? "var(--c5)" : "var(--c1)"), tip: TIP,
        title: (row) => `${row.name}: ${format(row[key])}; ${count(row.kept)} chains kept`,
      }),
      Plot.text(rows, { y: "name", x: key, text: (row) => format(row[key]), dx: 6, textAnchor: "start" }),
    ],
  });
}

function lengthPlot(lines, domain) {
  const few = [1, 2, 5].flatMap((first) => d3.range(0, 8).map((power) => first * 10 ** power));
  const ticks = domain[1] / domain[0] < 10 ? d3.ticks(...domain, 4) : few.filter((tick) => tick >= domain[0] && tick <= domain[1]);
  return (width) => Plot.plot({
    width, height: 56 + 32 * lines.length, marginLeft: 78, marginRight: 16, marginBottom: 36, style: STYLE,
    x: { type: "log", domain, label: "Tokens written", labelAnchor: "center", labelArrow: "none", ticks, tickFormat: count, tickSize: 0 },
    y: { domain: lines.map((line) => line.what), label: null, tickSize: 0 },
    marks: [
      Plot.gridX({ ticks, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.ruleY(lines, { y: "what", x1: "p5", x2: "p95", stroke: "var(--c1)", strokeWidth: 1.5 }),
      Plot.ruleY(lines, { y: "what", x1: "p25", x2: "p75", stroke: "var(--c1)", strokeWidth: 7, strokeOpacity: 0.45 }),
      Plot.dot(lines, {
        y: "what", x: "p50", r: 4.5, fill: "var(--c1)", tip: TIP,
        title: (line) => `${line.group}, ${line.what}: half within ${count(line.p25)} to ${count(line.p75)} tokens, median ${count(line.p50)} (${count(line.answers)} answers)`,
      }),
      Plot.text(lines, { y: "what", x: "p50", text: (line) => count(line.p50), dy: -12 }),
    ],
  });
}

function lossPlot(curves) {
  const points = curves.flatMap((curve, at) => curve.points.map((point) => ({ ...point, at, model: curve.model })));
  const ends = curves.map((curve, at) => ({ ...curve.points[curve.points.length - 1], at, model: curve.model }));
  const colour = (row) => (curves.length === 1 ? "var(--c1)" : COLOURS[(row.at + 1) % COLOURS.length]);
  const narrow = (width) => width < 560;
  return (width) => Plot.plot({
    width, height: 280, marginLeft: 46, marginRight: narrow(width) ? 16 : 170, marginBottom: 38, style: STYLE,
    x: { label: "Training step", labelAnchor: "center", labelArrow: "none", ticks: 6, tickSize: 0 },
    y: { label: "Loss per token", ticks: 5, tickSize: 0, nice: true, zero: true },
    marks: [
      Plot.gridY({ ticks: 5, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.line(points, { x: "step", y: "loss", z: "at", stroke: colour, strokeWidth: 2 }),
      Plot.dot(ends, { x: "step", y: "loss", r: 3.5, fill: colour }),
      Plot.text(ends, {
        x: "step", y: "loss", text: (row) => `${shortened(row.model, 40)} ${row.loss.toFixed(3)}`, fill: colour,
        ...(narrow(width) ? { dy: -14, textAnchor: "end", lineWidth: 22 } : { dx: 8, textAnchor: "start", lineWidth: 13 }),
      }),
      Plot.tip(points, Plot.pointer({
        x: "step", y: "loss", ...TIP,
        title: (row) => `${row.model}, step ${count(row.step)} (epoch ${row.epoch.toFixed(2)}): loss ${row.loss.toFixed(4)}`,
      })),
    ],
  });
}

// Rows of several models: each row is a facet, in which the models stand one below the other.
function rowFacets(lines, perRow) {
  const names = lines.map((line) => line.label);
  return { domain: names, label: null, padding: 0, height: 46 + lines.length * (16 * perRow + 16) };
}

function accuracyPlot(lines, models) {
  const facets = rowFacets(lines, models.length);
  const rows = lines.flatMap((line) => line.models.map((one) => ({ ...one, label: line.label, at: lookOf(one.model) })));
  return (width) => Plot.plot({
    width, height: facets.height, marginLeft: 92, marginRight: 40, marginBottom: 38, marginTop: 6, style: STYLE,
    x: { domain: [0, 100], label: "Accuracy, %", labelAnchor: "center", labelArrow: "none", ticks: 5, tickSize: 0 },
    y: { domain: models, axis: null, padding: 0.75 },
    fy: { domain: facets.domain, label: null, padding: facets.padding, axis: "left", tickFormat: (name) => shortened(name) },
    symbol: { domain: models, range: models.map((model) => SHAPES[lookOf(model)]) },
    marks: [
      Plot.gridX({ ticks: 5, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.ruleY(rows, {
        fy: "label", y: "model", x1: (row) => 100 * row.low, x2: (row) => 100 * row.high, stroke: (row) => COLOURS[row.at], strokeWidth: 2,
      }),
      Plot.dot(rows, {
        fy: "label", y: "model", x: (row) => 100 * row.value, symbol: "model", r: 4.5, fill: (row) => COLOURS[row.at], tip: TIP,
        title: (row) => `${row.model}, ${row.label}: ${percent(row.value)} (95 %: ${percent(row.low)} to ${percent(row.high)})`,
      }),
      Plot.text(rows, {
        fy: "label", y: "model", x: (row) => 100 * row.high, text: (row) => (100 * row.value).toFixed(1), dx: 7, textAnchor: "start",
      }),
    ],
  });
}

function gainPlot(lines, models, most) {
  const facets = rowFacets(lines, models.length);
  // Beside the accuracies the rows have their names there; below them, on a small screen, they need their own.
  const alone = (width) => width > 0.7 * document.getElementById("page").clientWidth;
  const rows = lines.filter((line) => line.difference).map((line) => ({ ...line.difference, label: line.label }));
  return (width) => Plot.plot({
    width, height: facets.height, marginLeft: alone(width) ? 92 : 24, marginRight: 46, marginBottom: 38, marginTop: 6, style: STYLE,
    x: { domain: [-most, most], label: "Gain, points", labelAnchor: "center", labelArrow: "none", ticks: 5, tickSize: 0 },
    fy: { domain: facets.domain, label: null, padding: facets.padding, axis: alone(width) ? "left" : null, tickFormat: (name) => shortened(name) },
    marks: [
      Plot.gridX({ ticks: 5, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.ruleX([0], { stroke: "var(--soft)" }),
      Plot.link(rows, { fy: "label", x1: (row) => 100 * row.low, x2: (row) => 100 * row.high, y1: 0, y2: 0, stroke: "var(--ink)", strokeWidth: 2 }),
      Plot.dot(rows, {
        fy: "label", x: (row) => 100 * row.value, y: 0, r: 4.5, fill: "var(--ink)", tip: TIP,
        title: (row) => `${row.label}: ${signed(row.value)} points (95 %: ${signed(row.low)} to ${signed(row.high)})`,
      }),
      Plot.text(rows, { fy: "label", x: (row) => 100 * row.high, y: 0, text: (row) => signed(row.value), dx: 7, textAnchor: "start" }),
    ],
    y: { domain: [-1, 1], axis: null },
  });
}

// A name inside a plot has room for so many characters; its whole stands in the table.
function shortened(name, room = 14) {
  return name.length > room ? `…${name.slice(1 - room)}` : name;
}
