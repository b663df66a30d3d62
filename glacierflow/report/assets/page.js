// What all parts of the page share: the data, the filter, the chosen region, and small helpers.
"use strict";
window.GLACIERFLOW_IMAGES = {};
window.gf = (() => {
  const data = window.GLACIERFLOW;
  const words = { failed: "failed", partial: "partial", running: "running", waiting: "waiting", done: "done", no_data: "without data" };
  // Okabe and Ito's colours, which differ for every kind of colour blindness; shapes say the same
  const colours = { failed: "#d55e00", partial: "#e69f00", running: "#56b4e9", waiting: "#ffffff", done: "#0072b2", no_data: "#aab3bb" };
  const shapes = { failed: d3.symbolTriangle, partial: d3.symbolDiamond, running: d3.symbolWye, waiting: d3.symbolSquare, done: d3.symbolCircle, no_data: d3.symbolCross };
  const state = { text: "", off: new Set(), chosen: -1, period: -1 };
  const onFilter = [], onChoose = [];
  const byName = new Map(data.regions.map((region, number) => [region.name, number]));

  const $ = (id) => document.getElementById(id);
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") made.className = value;
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }
  function sign(standing, size = 70) {
    const svg = d3.create("svg").attr("width", 14).attr("height", 14).attr("viewBox", "-7 -7 14 14").attr("aria-hidden", "true");
    svg.append("path").attr("d", d3.symbol(shapes[standing], size)()).attr("fill", colours[standing]).attr("stroke", "#14202b");
    return svg.node();
  }
  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const money = (usd) => usd === null ? "not known" : usd >= 100 ? `$${Math.round(usd).toLocaleString("en")}` : usd >= 0.995 || usd === 0 ? `$${usd.toFixed(2)}` : `$${usd.toFixed(1 - Math.floor(Math.log10(usd)))}`;
  const matches = (region) => !state.off.has(region.standing) &&
    (!state.text || region.name.toLowerCase().includes(state.text) || String(region.index) === state.text);
  const visible = () => data.regions.map((_, number) => number).filter((number) => matches(data.regions[number]));

  function filter() {
    for (const listener of onFilter) listener();
    $("found").textContent = `${visible().length} of ${count(data.regions.length, "region")}`;
  }
  function choose(number, { period = -1, move = false } = {}) {
    state.chosen = number;
    state.period = period;
    const name = data.regions[number].name;
    history.replaceState(null, "", `#region=${encodeURIComponent(name)}`);
    for (const listener of onChoose) listener();
    if (move) $("images").scrollIntoView({ block: "start" });
  }

  const tip = $("tip");
  function showTip(event, text) {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const { innerWidth: width, innerHeight: height } = window;
    tip.style.left = `${Math.min(event.clientX + 14, width - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, height - tip.offsetHeight - 8)}px`;
  }

  // one tab stop for many things: the arrow keys go on from there
  function roving(container, selector, columns = () => 1) {
    container.addEventListener("keydown", (event) => {
      // what is chosen is drawn last, and keeps its place in the order all the same
      const all = [...container.querySelectorAll(selector)].sort((one, other) => (one.dataset.order ?? 0) - (other.dataset.order ?? 0));
      const at = all.indexOf(event.target.closest(selector));
      if (at < 0) return;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns(), Home: -at, End: all.length - 1 - at }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const next = all[Math.max(0, Math.min(all.length - 1, at + step))];
      all[at].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }

  function start() {
    $("find").addEventListener("input", (event) => { state.text = event.target.value.trim().toLowerCase(); filter(); });
    for (const standing of data.standings) {
      const regions = data.regions.filter((region) => region.standing === standing).length;
      if (!regions) continue;
      const box = element("input", { type: "checkbox", checked: true, "data-standing": standing, onchange: (event) => {
        if (event.target.checked) state.off.delete(standing); else state.off.add(standing);
        filter();
      } });
      $("standings").append(element("label", {}, box, sign(standing), `${words[standing]} (${regions})`));
    }
    const list = $("regions");
    data.regions.forEach((region, number) => {
      const images = element("small", {}, count(region.images, "image"));
      list.append(element("li", {}, element("button", { type: "button", "data-region": region.name, onclick: () => choose(number, { move: true }) },
        sign(region.standing), element("span", {}, region.name, element("span", { class: "hidden" }, `, ${words[region.standing]}`)), images)));
    });
    onFilter.push(() => data.regions.forEach((region, number) => { list.children[number].hidden = !matches(region); }));
    onChoose.push(() => data.regions.forEach((_, number) => {
      const button = list.children[number].firstChild;
      if (number === state.chosen) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    }));
    for (const button of document.querySelectorAll(".copy")) {
      button.addEventListener("click", () => copy(button, button.dataset.copy ?? $(button.dataset.from).textContent));
    }
    filter();
    const named = /^#region=(.+)$/.exec(location.hash);
    const number = named ? byName.get(decodeURIComponent(named[1])) : undefined;
    const first = data.regions.findIndex((region) => region.images > 0);
    if (number !== undefined) choose(number, { move: true });
    else if (first >= 0) { choose(first); history.replaceState(null, "", location.pathname + location.search); }
  }

  async function copy(button, text) {
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // a page from disk may not use the clipboard in every browser
      const area = element("textarea", {}, text);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 1200);
  }

  return { data, words, colours, shapes, state, onFilter, onChoose, $, element, sign, count, money, matches, visible, choose, showTip, roving, start };
})();
