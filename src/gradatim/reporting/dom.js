"use strict";
// Everything that a model wrote goes onto the page through `element`, as text; nothing here reads markup from a string.

const report = JSON.parse(document.getElementById("data").textContent);
const state = { plots: 0, errors: 0, drawn: [] };

function failed(what) {
  state.errors += 1;
  console.error(what);
}
window.addEventListener("error", (event) => failed(event.message));
document.addEventListener("securitypolicyviolation", (event) => failed(`refused: ${event.violatedDirective} ${event.blockedURI}`));

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

// One locale for all readers, so that a printed report and a screen say the same.
const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
const number = (value) => (value === null || value === undefined ? "–" : three.format(value));
const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}`;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const levelName = (level) => (level === null ? "none" : level === "all" ? "all" : `level ${level}`);

function table(caption, head, rows) {
  const left = head.map((_, at) => rows.some((row) => typeof row[at] === "string" && !/^[-+−–]?[\d,.]*( %)?$/.test(row[at])));
  const cell = (kind) => (value, at) => {
    const attributes = { class: left[at] ? "left" : null, scope: kind === "th" ? "col" : null };
    return element(kind, attributes, String(value));
  };
  return element("div", { class: "scroll" },
    element("table", null,
      element("caption", null, caption),
      element("thead", null, element("tr", null, head.map(cell("th")))),
      element("tbody", null, rows.map((row) => element("tr", null, row.map(cell("td")))))));
}

function asTable(caption, head, rows) {
  return element("details", { class: "data" }, element("summary", null, "As a table"), table(caption, head, rows));
}

// A plot is drawn at the width of its place, and again when that changes. `describe` is what a screen reader says.
function plot(describe, draw) {
  const place = element("div", { class: "plot" });
  state.drawn.push({ place, describe, draw, width: 0 });
  return place;
}

function drawAll() {
  for (const one of state.drawn) {
    const width = Math.max(220, Math.round(one.place.clientWidth || 640));
    if (width === one.width) continue;
    one.width = width;
    try {
      const svg = one.draw(width);
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", one.describe);
      one.place.replaceChildren(svg);
    } catch (error) {
      failed(error);
      one.place.replaceChildren(element("p", { class: "failed" }, `This plot could not be drawn: ${error}`));
    }
  }
  state.plots = document.querySelectorAll(".plot svg").length;
}

function keys(entries) {
  return element("ul", { class: "keys" }, entries.map(([mark, words]) => element("li", null, mark, words)));
}

function swatch(draw) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ width: 16, height: 14, viewBox: "0 0 16 14", "aria-hidden": "true" })) {
    svg.setAttribute(name, value);
  }
  for (const [name, attributes] of draw) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  }
  return svg;
}
