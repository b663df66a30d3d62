// Greenland in EPSG:3413: the coast, and a sign for each region.
"use strict";
(() => {
  const { data, words, colours, shapes, state, onFilter, onChoose, $, count, matches, choose, showTip } = gf;
  const coast = window.GLACIERFLOW_COAST;
  const [xmin, ymin, xmax, ymax] = coast.frame;
  const width = 640, scale = width / (xmax - xmin), height = Math.round((ymax - ymin) * scale);
  const x = (value) => (value - xmin) * scale, y = (value) => (ymax - value) * scale;
  const metres = (value) => value / coast.unit_m;
  const ring = (flat) => {
    const parts = [];
    for (let at = 0; at < flat.length; at += 2) parts.push(`${x(flat[at]).toFixed(1)},${y(flat[at + 1]).toFixed(1)}`);
    return `M${parts.join("L")}Z`;
  };
  const svg = d3.select("#map").attr("viewBox", `0 0 ${width} ${height}`);
  const all = svg.append("g");
  all.append("path").attr("class", "land other").attr("d", coast.others.map(ring).join(""));
  all.append("path").attr("class", "land").attr("d", coast.greenland.map(ring).join(""));
  const places = data.regions.map(({ box }) => {
    const [left, bottom, right, top] = box.map(metres);
    return { x: x((left + right) / 2), y: y((bottom + top) / 2), left: x(left), top: y(top), width: (right - left) * scale, height: (top - bottom) * scale };
  });
  all.append("g").selectAll("rect").data(places).join("rect").attr("class", "box")
    .attr("x", (d) => d.left).attr("y", (d) => d.top).attr("width", (d) => d.width).attr("height", (d) => d.height);
  const few = data.regions.length <= 12;
  const size = data.regions.length > 60 ? 55 : 110;
  const says = (number) => `${data.regions[number].name}: ${words[data.regions[number].standing]}, ${count(data.regions[number].images, "image")}`;
  const marks = all.append("g").selectAll("g").data(data.regions).join("g")
    .attr("class", "mark").attr("role", "button").attr("tabindex", "-1").attr("data-region", (region) => region.name).attr("data-order", (_, number) => number)
    .attr("aria-label", (_, number) => says(number))
    .on("click", (event, region) => choose(data.regions.indexOf(region), { move: event.detail !== 0 && event.detail > 1 }))
    .on("keydown", (event, region) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(data.regions.indexOf(region), { move: true }); } })
    .on("mousemove", (event, region) => showTip(event, says(data.regions.indexOf(region)))).on("mouseleave", (event) => showTip(event, ""));
  marks.append("path").attr("d", (region) => d3.symbol(shapes[region.standing], size)()).attr("fill", (region) => colours[region.standing]);
  if (few) marks.append("text").attr("x", (_, number) => places[number].x > width * 0.7 ? -10 : 10).attr("text-anchor", (_, number) => places[number].x > width * 0.7 ? "end" : "start").attr("y", 4).text((region) => region.name);
  marks.filter((_, number) => number === 0).attr("tabindex", "0");
  gf.roving($("map"), ".mark:not(.off)");

  let factor = 1;
  const place = () => marks.attr("transform", (_, number) => `translate(${places[number].x},${places[number].y}) scale(${1 / factor})`);
  const zoom = d3.zoom().scaleExtent([1, 80]).translateExtent([[0, 0], [width, height]])
    // the page scrolls past the map; only with Ctrl, or two fingers, does the map zoom
    .filter((event) => event.type === "wheel" ? event.ctrlKey || event.metaKey : event.type.startsWith("touch") ? event.touches.length > 1 : !event.button)
    .on("zoom", ({ transform }) => { factor = transform.k; all.attr("transform", transform); place(); });
  svg.call(zoom).on("dblclick.zoom", null);
  place();
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const by = Number(button.dataset.zoom);
      if (by) svg.call(zoom.scaleBy, by, state.chosen >= 0 && by > 1 ? [places[state.chosen].x * factor + d3.zoomTransform(svg.node()).x, places[state.chosen].y * factor + d3.zoomTransform(svg.node()).y] : undefined);
      else svg.call(zoom.transform, d3.zoomIdentity);
    });
  }
  onFilter.push(() => marks.classed("off", (region) => !matches(region)));
  onChoose.push(() => marks.classed("chosen", (_, number) => number === state.chosen).filter((_, number) => number === state.chosen).raise());
})();
