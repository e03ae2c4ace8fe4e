// The page: one function per section, each giving nothing where the report has no data for it.

function section(id, title, lead, ...content) {
  return element("section", { id, "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title` }, title), element("p", { class: "lead" }, lead), ...content);
}

function named(name, more) {
  return element("p", { class: "name" }, name, more ? element("span", { class: "more" }, ` ${more}`) : null);
}

function summary() {
  const tile = (figure) => element("div", { class: figure.main ? "tile main" : "tile" },
    element("dt", null, figure.name),
    element("dd", { class: "value" }, figure.value),
    figure.note ? element("dd", { class: "note" }, figure.note) : null);
  return element("div", null, element("h1", null, report.title), element("dl", { class: "tiles" }, report.figures.map(tile)));
}

function levels() {
  if (!report.histograms.length) return null;
  const shares = report.histograms.flatMap((histogram) => {
    const known = histogram.lines.filter((line) => line.level !== null);
    const total = sum(known.map((line) => line.questions));
    return known.map((line) => (100 * line.questions) / total);
  });
  const top = Math.min(100, 1.15 * Math.max(1, ...shares));
  const one = (histogram) => {
    const total = sum(histogram.lines.map((line) => line.questions));
    const none = histogram.lines.find((line) => line.level === null);
    const tests = histogram.lines.some((line) => line.tests !== null);
    const rows = histogram.lines.map((line) => [levelName(line.level), count(line.questions), percent(line.questions / total),
      line.attempts ? percent(line.correct / line.attempts) : "–", count(line.attempts), number(line.score), ...(tests ? [number(line.tests)] : [])]);
    const words = histogram.lines.map((line) => `${levelName(line.level)}: ${count(line.questions)}`).join(", ");
    return element("figure", null,
      named(histogram.model, `rule ${histogram.rule}${histogram.cuts ? `, cuts ${histogram.cuts}` : ""}, ${count(total)} questions`),
      plot(`Questions per level for ${histogram.model}: ${words}.`, levelsPlot(histogram, top)),
      none ? element("figcaption", null, `${count(none.questions)} questions have no level and are not in the plot.`) : null,
      asTable(`Grading ${histogram.grading}`, ["level", "questions", "share", "pass rate", "decided attempts", "mean PRM score", ...(tests ? ["mean share of tests passed"] : [])], rows));
  };
  return section("levels", "Levels", "Questions of the pools by their level for each model: 0 (grey) is what it solves, 5 is what it is furthest from solving. The numbers above the bars are questions.",
    element("div", { class: "grid" }, report.histograms.map(one)));
}

function agreement() {
  const moves = report.moves;
  if (!moves) return null;
  const rows = LEVELS.map((first) => [`level ${first}`, ...LEVELS.map((second) => {
    const found = moves.counts.find((cell) => cell[0] === first && cell[1] === second);
    return count(found ? found[2] : 0);
  })]);
  return section("agreement", "Two models, two levels",
    `${count(moves.changed)} of ${count(moves.questions)} questions (${percent(moves.changed / moves.questions)}) have another level for ${moves.second} than for ${moves.first}. Framed cells are those where the two agree.`,
    element("figure", null,
      plot(`Questions by their level for ${moves.first} and for ${moves.second}; ${percent(moves.changed / moves.questions)} differ.`, movesPlot(moves)),
      asTable(`Rows: level for ${moves.first}. Columns: level for ${moves.second}.`, ["", ...LEVELS.map(String)], rows)));
}

function mixes() {
  if (!report.draws.length) return null;
  const one = (mix) => {
    const total = (key) => sum(mix.lines.map((line) => line[key]));
    const rows = [...mix.lines, { level: "all", asked: total("asked"), drawn: total("drawn"), finished: total("finished") }]
      .map((line) => [levelName(line.level), count(line.asked), count(line.drawn), count(line.finished)]);
    return element("figure", null,
      named(mix.draw, `${mix.mix}, size ${count(mix.size)}, seed ${mix.seed}, levels of ${mix.model}`),
      plot(`Asked, drawn and finished questions per level of the draw ${mix.draw}: ${rows.map((row) => `${row[0]} ${row.slice(1).join("/")}`).join(", ")}.`, mixPlot(mix)),
      asTable(`Draw ${mix.draw}`, ["level", "asked", "drawn", "finished"], rows));
  };
  return section("mixes", "Mixes", "How many questions of each level a draw asked for, had, and has kept chains for. The numbers are finished ones.",
    keys([
      [swatch([["rect", { x: 0, y: 5, width: 16, height: 4, fill: "var(--c2)" }]]), "asked"],
      [swatch([["rect", { x: 1, y: 0, width: 14, height: 14, fill: "var(--pale)" }]]), "drawn"],
      [swatch([["rect", { x: 4, y: 0, width: 8, height: 14, fill: "var(--c1)" }]]), "finished"],
    ]),
    element("div", { class: "grid" }, report.draws.map(one)));
}

function scores() {
  if (!report.scores.length) return null;
  const one = (split) => {
    const bins = split.lines[0].counts.length;
    const rows = split.lines[0].counts.map((_, bin) => [`${(bin / bins).toFixed(2)} to ${((bin + 1) / bins).toFixed(2)}`,
      ...split.lines.map((line) => count(line.counts[bin]))]);
    const only = split.lines.length === 1 ? ` Only ${split.lines[0].outcome} attempts have scores: grade asks for no others.` : "";
    const none = split.unscored.map(([reason, attempts]) => `${count(attempts)} ${reason}`).join(", ");
    return element("figure", null,
      named(split.model, `scored by ${split.prm}`),
      plot(`Mean step scores of ${split.model}'s attempts: ${split.lines.map((line) => `${line.outcome}, ${count(line.attempts)} attempts, mean ${line.mean.toFixed(2)}`).join("; ")}.`, scorePlot(split)),
      element("figcaption", null, `${split.lines.map((line) => `${count(line.attempts)} ${line.outcome}`).join(", ")}.${only}${none ? ` Without a score: ${none}.` : ""}`),
      asTable("Attempts by mean step score", ["mean step score", ...split.lines.map((line) => line.outcome)], rows));
  };
  return section("scores", "PRM score and outcome", "The mean of a process reward model's step scores, for attempts that a checker found correct and for those it found wrong; each row of bars adds up to 100 %.",
    element("div", { class: report.scores.length > 1 ? "grid" : "wide" }, report.scores.map(one)));
}

function teaching() {
  if (!report.teaching.length) return null;
  const one = (draw) => {
    const lines = draw.lines.map((line) => ({ ...line, cost_per_1000: line.cost_per_chain === null ? null : 1000 * line.cost_per_chain }));
    const some = lines.some((line) => line.kept);
    const costly = lines.some((line) => line.cost_per_chain !== null);
    const rows = lines.map((line) => [levelName(line.level === null ? "all" : line.level), count(line.attempts), count(line.correct),
      `${percent(line.share)} (${percent(line.low)} to ${percent(line.high)})`, count(line.kept), count(line.tokens),
      count(line.tokens_per_chain), number(line.cost), number(line.cost_per_1000)]);
    const not = draw.not_kept.map(([reason, attempts]) => `${count(attempts)} ${reason}`).join(", ");
    return element("figure", null,
      named(draw.draw, `taught by ${draw.teachers.join(", ")}`),
      element("div", { class: "grid" },
        plot(`Share of the teacher's answers that are correct: ${rows.map((row) => `${row[0]} ${row[3]}`).join("; ")}.`, yieldPlot(lines)),
        some ? plot(`Tokens per kept chain: ${rows.map((row) => `${row[0]} ${row[6]}`).join(", ")}.`, amountPlot(lines, "tokens_per_chain", "Tokens written per kept chain", count)) : null,
        costly ? plot(`Cost per 1,000 kept chains: ${rows.map((row) => `${row[0]} ${row[8]}`).join(", ")}.`, amountPlot(lines, "cost_per_1000", "Cost per 1,000 kept chains", number)) : null),
      not ? element("figcaption", null, `Not kept: ${not}.`) : null,
      asTable(`Draw ${draw.draw}`, ["level", "answers", "correct", "share (95 % interval)", "kept", "tokens", "tokens per chain", "cost", "cost per 1,000 chains"], rows));
  };
  return section("teaching", "The teacher's work", "What a chain takes at each level: how many of the teacher's answers are correct (with the 95 % interval), and the tokens and money (in the currency of the price that was set) that all its answers took, per chain that was kept.",
    report.teaching.map(one));
}

function lengths() {
  if (!report.lengths.length) return null;
  const low = Math.max(1, Math.min(...report.lengths.map((line) => line.p5)));
  const high = Math.max(...report.lengths.map((line) => line.p95));
  const domain = [low / 1.15, Math.max(high, low * 2) * 1.15];
  const groups = [...new Set(report.lengths.map((line) => line.group))];
  const rows = report.lengths.map((line) => [line.group, line.what, count(line.answers), count(line.p5), count(line.p25), count(line.p50),
    count(line.p75), count(line.p95), count(line.uncounted)]);
  return section("lengths", "Lengths", "Tokens written, thinking included: the dot is the median, the thick bar holds the middle half of the answers, the thin line the middle 90 %. The scale is logarithmic.",
    element("div", { class: "grid" }, groups.map((group) => {
      const lines = report.lengths.filter((line) => line.group === group);
      return element("figure", null, named(group),
        plot(`Lengths of ${group}: ${lines.map((line) => `${line.what}, median ${count(line.p50)} tokens`).join("; ")}.`, lengthPlot(lines, domain)));
    })),
    asTable("Tokens, by percentile", ["of", "kind", "answers", "5 %", "25 %", "median", "75 %", "95 %", "not counted"], rows));
}

function loss() {
  if (!report.curves.length) return null;
  const rows = report.curves.map((curve) => [curve.model, curve.base, curve.draw || "–", count(curve.chains), count(curve.replayed),
    `${count(curve.done)} of ${count(curve.steps)}`, fixed(curve.points[0].loss, 4), fixed(curve.points[curve.points.length - 1].loss, 4)]);
  return section("loss", "Loss", "The loss of each training on the answers' tokens. A point is the mean of a stretch of steps where there are more than the plot has room for.",
    element("figure", null,
      plot(`Loss over steps: ${rows.map((row) => `${row[0]} from ${row[6]} to ${row[7]}`).join("; ")}.`, lossPlot(report.curves)),
      table("Trainings", ["model", "base", "draw", "chains", "replayed", "steps", "first loss", "last loss"], rows)));
}

function accuracy() {
  if (!report.evaluations.length) return null;
  const one = (evaluation) => {
    const models = evaluation.samples.map(([model]) => model);
    const part = (model) => (model === evaluation.before ? ", before" : model === evaluation.after ? ", after" : "");
    const lines = evaluation.lines.map((line) => ({ ...line, label: line.kind === "level" ? `level ${line.name}` : line.kind === "all" ? "all" : line.name }));
    const compared = lines.some((line) => line.difference);
    const head = ["questions of", "how many", ...models, ...(compared ? ["gain, points"] : [])];
    const cell = (line, model) => {
      const found = line.models.find((entry) => entry.model === model);
      return found ? `${percent(found.value)} (${percent(found.low)} to ${percent(found.high)})` : "–";
    };
    const gain = (line) => (line.difference ? `${signed(line.difference.value)} (${signed(line.difference.low)} to ${signed(line.difference.high)})` : "–");
    const rows = lines.map((line) => [line.label, count(line.questions), ...models.map((model) => cell(line, model)), ...(compared ? [gain(line)] : [])]);
    const words = (what) => rows.map((row) => `${row[0]}: ${what(row)}`).join("; ");
    const symbol = (at) => swatch([["path", { d: d3.symbol(d3[`symbol${SHAPES[at][0].toUpperCase()}${SHAPES[at].slice(1)}`], 60)(), transform: "translate(8 7)", fill: COLOURS[at] }]]);
    const most = Math.max(5, ...lines.flatMap((line) => (line.difference ? [Math.abs(100 * line.difference.low), Math.abs(100 * line.difference.high)] : [])));
    const kinds = ["all", "level", "source"].filter((kind) => lines.some((line) => line.kind === kind));
    const titles = { all: "All questions", level: `By level for ${report.model}`, source: "By source" };
    return element("figure", null,
      named(evaluation.set, evaluation.samples.map(([model, samples]) => `${samples} ${samples === 1 ? "sample" : "samples"} per question of ${model}`).join(", ")),
      keys(models.map((model) => [symbol(lookOf(model)), `${model}${part(model)}`])),
      evaluation.trained_on === null ? null : element("p", { class: "warning" }, `Not held out: ${count(evaluation.trained_on)} of its questions have a chain in a draw, share a passage with one that has, or were replayed in training. What was trained on flatters a model.`),
      evaluation.notes.map((note) => element("p", { class: "warning" }, note)),
      kinds.map((kind) => {
        const own = lines.filter((line) => line.kind === kind);
        return element("div", null,
          kinds.length > 1 ? element("h3", null, titles[kind]) : null,
          element("div", { class: compared ? "wide split" : "wide" },
            plot(`Accuracy on ${evaluation.set}, ${titles[kind].toLowerCase()}: ${words((row) => models.map((model, at) => `${model} ${row[2 + at]}`).join(", "))}.`, accuracyPlot(own, models)),
            compared ? plot(`Gain in points: ${words((row) => row[row.length - 1])}.`, gainPlot(own, models, most)) : null));
      }),
      flow(evaluation),
      undecided(evaluation),
      evaluation.left_out ? element("figcaption", null, `${count(evaluation.left_out)} further models were evaluated on this set and are left out.`) : null,
      asTable(`Accuracy on ${evaluation.set}, with 95 % intervals`, head, rows));
  };
  return section("accuracy", "Accuracy", "The share of questions that each model answers correctly, averaged over its samples. Lines are 95 % intervals over questions; the gain is taken question by question, so its interval is narrower than the two models' would suggest.",
    report.evaluations.map(one));
}

function undecided(evaluation) {
  if (!evaluation.undecided.length) return null;
  const models = evaluation.undecided.map(([model, attempts]) => {
    const all = evaluation.lines[0].models.find((one) => one.model === model);
    return `${count(attempts)} of ${model}${all ? ` (accuracy at least ${percent(all.at_least)})` : ""}`;
  });
  return element("figcaption", null, `Undecided answers, cut off or beyond a checker, are left out: ${models.join(", ")}.`);
}

function flow(evaluation) {
  const parts = evaluation.flow;
  if (!parts) return null;
  return element("figcaption", null,
    `By the first sample of each: ${count(parts.gained)} questions went from wrong to right, ${count(parts.lost)} from right to wrong, ${count(parts.both_right)} stayed right, ${count(parts.both_wrong)} stayed wrong.`);
}

function stories() {
  if (!report.stories.length) return null;
  return section("questions", "Single questions",
    "Chosen by a fixed rule, not by eye: of each level the first, in the order of a hash, that the base model answered wrong and, where there is one, the trained model right. So they show what a success looks like, not how often there is one. Steps of a wrong answer are shaded by their PRM score: the stronger the shade, the lower the score. Below a wrong program stands the first test that it failed.",
    report.stories.map(story));
}

function story(one) {
  const where = one.kind === "taught" ? "taught: its chain is in the draw" : "held out: no chain was written for it";
  const parts = [
    one.wrong && answer("The base model's wrong answer", one.wrong),
    one.chain && answer("The teacher's chain", one.chain),
    one.after && answer("The trained model's answer", one.after),
  ].filter(Boolean);
  const kinds = ["", "one", "two", "three"];
  return element("article", null,
    element("h3", null, one.level === null ? "No level" : `Level ${one.level}`, element("span", { class: "more" }, ` · ${where} · `), element("code", null, one.question)),
    element("div", { class: "said prompt", dir: "auto" }, one.prompt.text, left(one.prompt.left_out)),
    element("p", { class: "lead" }, "Reference: ", element("bdi", null, one.reference)),
    element("div", { class: `texts ${kinds[parts.length]}` }, parts));
}

function answer(title, one) {
  const scored = one.steps.some((step) => step.score !== null);
  const facts = [one.model, one.outcome, one.tokens === null ? null : `${count(one.tokens)} tokens`, one.score === null ? null : `mean score ${one.score.toFixed(2)}`, one.tests];
  return element("div", null,
    element("h4", null, title, element("span", { class: "more" }, ` · ${facts.filter(Boolean).join(", ")}`)),
    element("div", { class: "panel", tabindex: "0", role: "group", "aria-label": title },
      one.thinking.text ? element("div", { class: "thinking" }, paragraphs(one.thinking.text), left(one.thinking.left_out)) : null,
      scored ? element("div", { class: "steps" }, one.steps.map(step)) : one.steps.map((part) => paragraphs(part.text)),
      left(one.left_out)),
    one.failed.length ? failed(one.failed) : null);
}

function failed(parts) {
  // Below the panel, not in it: at the end of a long program that scrolls, nobody would see it.
  return element("dl", { class: "testcase" }, parts.flatMap(([name, text]) => [element("dt", null, name), element("dd", { class: "said", dir: "auto" }, text)]));
}

function paragraphs(text) {
  return text.trim().split(/\n\s*\n/).map((part) => element("p", { class: "said", dir: "auto" }, part));
}

function step(one) {
  // A step ends with the line that parts it from the next: the page has its own.
  const row = element("div", { class: "step" },
    element("div", { class: "said", dir: "auto" }, one.text.trim()), element("b", null, one.score === null ? "" : one.score.toFixed(2)));
  row.style.setProperty("--doubt", one.score === null ? 0 : (1 - one.score).toFixed(3));
  return row;
}

function left(characters) {
  return characters ? element("span", { class: "lead" }, ` … ${count(characters)} characters more`) : null;
}

function lacking() {
  if (!report.missing.length) return null;
  return section("missing", "Not in this report", "What has no data in the library yet, and the command that gives it.",
    element("ul", { class: "missing" }, report.missing.map((one) => element("li", null, `${one.section}: ${one.why}. `, element("code", null, one.command)))));
}

function questionSets() {
  const rows = report.sets.map((set) => [set.name, set.purpose === "eval" ? "evaluation, never drawn from" : "pool", count(set.questions), count(set.excluded)]);
  return section("sets", "Questions", "The sets that the library holds. Excluded questions are in no draw.",
    table("Sets", ["set", "purpose", "questions", "excluded"], rows));
}

function toggles() {
  const root = document.documentElement;
  const names = ["as the system", "light", "dark"];
  let at = 0;
  const theme = element("button", { type: "button" }, "Colours: as the system");
  theme.addEventListener("click", () => {
    at = (at + 1) % names.length;
    if (at) root.dataset.theme = names[at];
    else delete root.dataset.theme;
    theme.textContent = `Colours: ${names[at]}`;
  });
  const tables = element("button", { type: "button", "aria-pressed": "false" }, "Open all tables");
  tables.addEventListener("click", () => {
    const open = tables.getAttribute("aria-pressed") === "false";
    tables.setAttribute("aria-pressed", String(open));
    tables.textContent = open ? "Close all tables" : "Open all tables";
    for (const details of document.querySelectorAll("details.data")) details.open = open;
  });
  document.getElementById("tools").append(tables, theme);
}

function contents(sections) {
  const links = sections.map((one) => element("li", null, element("a", { href: `#${one.id}` }, one.querySelector("h2").textContent)));
  return element("nav", { "aria-label": "Sections" }, element("ul", null, links));
}

function build() {
  const sections = [];
  for (const make of [accuracy, levels, agreement, mixes, teaching, scores, lengths, loss, stories, questionSets, lacking]) {
    try {
      const made = make();
      if (made) sections.push(made);
    } catch (error) {
      failed(error);
    }
  }
  document.getElementById("page").append(summary(), contents(sections), ...sections);
  document.getElementById("made").textContent = `Written by Gradatim ${report.version}. All figures are in this file, as JSON in the element with the id “data”.`;
  toggles();
  drawAll();
  for (const [event, printing] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(event, () => {
      document.documentElement.classList.toggle("printing", printing);
      drawAll();
    });
  }
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  // What a test looks at: how much was drawn, and whether anything went wrong.
  document.documentElement.dataset.ready = `plots=${state.plots} errors=${state.errors}`;
}

build();
