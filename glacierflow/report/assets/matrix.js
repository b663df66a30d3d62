// The coverage matrix: a row a region, a column a period; a bounded number of rows at a time.
"use strict";
(() => {
  const { data, state, onFilter, onChoose, $, element, count, visible, choose } = gf;
  const { states, labels, cells, sentences } = data.coverage;
  const signs = { complete: "", no_data: "·", partial: "~", missing: "–", damaged: "×", unchecked: "?" };
  const says = { complete: "complete", no_data: "no data", partial: "partial", missing: "missing", damaged: "damaged", unchecked: "not checked" };
  const byRegion = new Map();
  for (const cell of cells) {
    if (!byRegion.has(cell[0])) byRegion.set(cell[0], []);
    byRegion.get(cell[0])[cell[1]] = cell;
  }
  const mostCells = 2000, page = Math.max(5, Math.min(40, Math.floor(mostCells / labels.length)));
  let rows = page;
  const used = new Set(cells.map((cell) => states[cell[2]]));
  for (const name of states.filter((one) => used.has(one))) {
    $("legend").append(element("span", {}, element("span", { class: `cell c-${name}`, "aria-hidden": "true" }, signs[name] || "n"), name === "complete" ? "complete: n images" : says[name]));
  }
  const table = $("matrix");
  const upright = labels.length > 12 || labels.some((label) => label.length > 12 && labels.length > 4);
  table.append(element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "region"),
    ...labels.map((label) => element("th", { scope: "col", class: upright ? "upright" : "" }, element("span", {}, label))))));
  const body = element("tbody");
  table.append(body);

  function draw() {
    const numbers = visible();
    let first = true;
    body.replaceChildren(...numbers.slice(0, rows).map((number) => {
      const name = data.regions[number].name;
      const own = byRegion.get(number) ?? [];
      return element("tr", {}, element("th", { scope: "row" }, name), ...labels.map((label, period) => {
        const cell = own[period];
        if (!cell) return element("td");
        const what = states[cell[2]];
        const why = cell[4] < 0 ? "" : `. ${sentences[cell[4]]}`;
        const button = element("button", {
          type: "button", class: `cell c-${what}`, tabindex: first ? "0" : "-1", "data-region": name, "data-period": label,
          "aria-label": `${name}, ${label}: ${says[what]}, ${count(cell[3], "image")}${why}`, title: `${says[what]}${why}`,
          onclick: () => choose(number, { period, move: true }),
        }, what === "complete" ? String(cell[3]) : signs[what]);
        first = false;
        return element("td", { class: number === state.chosen && period === state.period ? "chosen" : "" }, button);
      }));
    }));
    const left = numbers.length - rows;
    $("more-rows").hidden = left <= 0;
    $("more-rows").textContent = `Show ${Math.min(page, left)} more of ${count(left, "region")}`;
  }
  $("more-rows").addEventListener("click", () => { rows += page; draw(); });
  gf.roving(table, ".cell", () => labels.length);
  onFilter.push(() => { rows = page; draw(); });
  onChoose.push(() => {
    for (const cell of body.querySelectorAll("td.chosen")) cell.classList.remove("chosen");
    if (state.period < 0) return;
    const { name } = data.regions[state.chosen];
    for (const button of body.querySelectorAll("button")) {
      if (button.dataset.region === name && button.dataset.period === labels[state.period]) button.parentElement.classList.add("chosen");
    }
  });
})();
