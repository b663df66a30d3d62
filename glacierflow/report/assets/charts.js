// When attempts ran, and which were lost. Drawn on a canvas, so that thousands of them are one node.
"use strict";
(() => {
  const { data, onFilter, $, element, count, money, visible, showTip } = gf;
  const box = $("timeline");
  const attempts = data.attempts;
  if (!attempts.length) { box.append("No attempt has started, or their times are not known."); return; }
  const seen = Date.parse(data.seen_at) / 1000;
  const [REGION, START, HOURS, WHY, USD, NUMBER, SLOT] = [0, 1, 2, 3, 4, 5, 6];
  // one that is lost, and nobody knows when, is a mark at its start
  const end = (one) => one[HOURS] !== null ? one[START] + one[HOURS] * 3600 : one[WHY] !== null || data.headline.finished ? one[START] + 60 : seen;
  const kinds = { good: ["#0072b2", "ended well"], spot: ["#e69f00", "reclaimed by AWS"], lost: ["#d55e00", "lost to something else"], open: ["#56b4e9", "running, or its end is not known"] };
  const kind = (one) => one[WHY] === "spot" ? "spot" : one[WHY] !== null ? "lost" : one[HOURS] === null ? "open" : "good";
  const used = new Set(attempts.map(kind));
  for (const [name, [colour, text]] of Object.entries(kinds)) {
    if (!used.has(name)) continue;
    const patch = d3.create("svg").attr("width", 22).attr("height", 12).attr("aria-hidden", "true");
    patch.append("rect").attr("width", 22).attr("height", 12).attr("fill", colour);
    if (name === "spot" || name === "lost") patch.append("path").attr("d", name === "spot" ? "M14,1L21,11M21,1L14,11" : "M0,12L12,0M8,12L20,0").attr("stroke", "#fff").attr("stroke-width", 2);
    $("attempts-legend").append(element("span", {}, patch.node(), `${text} (${attempts.filter((one) => kind(one) === name).length})`));
  }
  const canvas = element("canvas", { role: "img" });
  box.append(canvas);
  const svg = d3.select(box).append("svg").attr("aria-hidden", "true");
  const axis = svg.append("g"), names = svg.append("g");
  const says = (one) => `${data.regions[one[REGION]].name}, slot ${one[SLOT]}, attempt ${one[NUMBER]}: ${one[HOURS] === null ? one[WHY] === null ? "running" : "its end is not known" : `${(one[HOURS] * 60).toFixed(1)} min`}${one[WHY] === null ? "" : `, lost (${one[WHY]})`}, ${money(one[USD])}`;
  let drawn = [];

  function draw() {
    const numbers = visible(), rowOf = new Map(numbers.map((number, row) => [number, row]));
    const shown = attempts.filter((one) => rowOf.has(one[REGION]));
    const width = box.clientWidth, row = Math.max(4, Math.min(18, Math.floor(620 / Math.max(1, numbers.length))));
    const left = row >= 11 && width > 520 ? 205 : 4, top = 26, height = top + row * numbers.length + 6;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    svg.attr("width", width).attr("height", height);
    const x = d3.scaleUtc([new Date(d3.min(attempts, (one) => one[START]) * 1000), new Date(d3.max(attempts, end) * 1000)], [left, width - 24]).nice();
    const [first, last] = x.domain(), clock = d3.utcFormat("%H:%M"), day = d3.utcFormat("%d %b");
    // in UTC, as everything here
    const says = (when) => +d3.utcDay(when) === +when ? day(when) : last - first > 4 * 86400e3 ? "" : clock(when);
    axis.attr("transform", `translate(0,${top - 4})`).call(d3.axisTop(x).ticks(Math.max(2, Math.floor((width - left) / 110))).tickFormat(says));
    names.selectAll("text").data(left > 4 ? numbers : []).join("text").attr("x", left - 8).attr("y", (_, number) => top + row * (number + 0.5)).attr("dy", "0.35em")
      .attr("text-anchor", "end").attr("font-size", Math.min(12, row)).attr("fill", "#1b2530").text((number) => data.regions[number].name);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = "#f4f7f9";
    numbers.forEach((_, number) => { if (number % 2 === 0) pen.fillRect(left, top + row * number, width - left, row); });
    drawn = shown.map((one) => {
      const from = x(new Date(one[START] * 1000)), to = Math.max(from + 2, x(new Date(end(one) * 1000)));
      const y = top + row * rowOf.get(one[REGION]) + 1, high = Math.max(2, row - 2), what = kind(one);
      pen.fillStyle = kinds[what][0];
      pen.fillRect(from, y, to - from, high);
      pen.strokeStyle = "#fff";
      pen.lineWidth = 1.5;
      pen.save();
      pen.beginPath();
      pen.rect(from, y, to - from, high);
      pen.clip();
      pen.beginPath();
      if (what === "lost") for (let at = from - high; at < to; at += 7) { pen.moveTo(at, y + high); pen.lineTo(at + high, y); }
      if (what === "spot") { const side = Math.min(high, to - from); pen.moveTo(to - side, y); pen.lineTo(to, y + high); pen.moveTo(to, y); pen.lineTo(to - side, y + high); }
      pen.stroke();
      pen.restore();
      return { one, from, to, y, high };
    });
    canvas.setAttribute("aria-label", `${count(shown.length, "attempt")} over time, ${shown.filter((one) => kind(one) === "spot").length} reclaimed, ${shown.filter((one) => kind(one) === "lost").length} lost to something else`);
  }
  canvas.addEventListener("mousemove", (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    const x = event.clientX - left, y = event.clientY - top;
    const hit = drawn.findLast((bar) => x >= bar.from - 2 && x <= bar.to + 2 && y >= bar.y - 1 && y <= bar.y + bar.high + 1);
    showTip(event, hit ? says(hit.one) : "");
  });
  canvas.addEventListener("mouseleave", (event) => showTip(event, ""));
  onFilter.push(draw);
  new ResizeObserver(() => { if (Math.abs(canvas.clientWidth - box.clientWidth) > 1) draw(); }).observe(box);

  const lost = attempts.filter((one) => one[WHY] !== null), most = 100;
  if (lost.length) {
    $("lost").hidden = false;
    $("lost").querySelector("summary").textContent = `${count(lost.length, "attempt")} that did not end well${lost.length > most ? `, the first ${most}` : ""}`;
    const table = $("lost").querySelector("table");
    table.className = "plain";
    table.append(element("thead", {}, element("tr", {}, ...["region", "slot", "attempt", "lost to", "minutes", "cost"].map((text) => element("th", { scope: "col" }, text)))));
    table.append(element("tbody", {}, ...lost.slice(0, most).map((one) => element("tr", {}, element("th", { scope: "row" }, data.regions[one[REGION]].name),
      ...[one[SLOT], one[NUMBER], one[WHY], one[HOURS] === null ? "–" : (one[HOURS] * 60).toFixed(1), money(one[USD])].map((text) => element("td", {}, String(text)))))));
  }
})();
gf.start();
