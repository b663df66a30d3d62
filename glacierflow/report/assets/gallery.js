// The images of one region in order of time: a slider, a flicker between two, a sheet of all. Loaded on demand.
"use strict";
(() => {
  const { data, state, onChoose, $, element, count } = gf;
  const flickerMs = 600, playMs = 450, sheetPage = 40;
  let columns = null, order = [], at = 0, held = -1, timer = null, sheetRows = 0, wanted = "";

  function load(name, then) {
    if (window.GLACIERFLOW_IMAGES[name]) { then(); return; }
    const script = element("script", { src: `images/${encodeURIComponent(name)}.js`, onload: then });
    script.addEventListener("error", () => { $("gallery-count").textContent = "the list of images is not beside this page"; });
    document.head.append(script);
  }
  function open() {
    stop();
    const region = data.regions[state.chosen];
    wanted = region.name;
    $("no-region").hidden = true;
    $("gallery").hidden = false;
    $("gallery-region").textContent = region.name;
    if (!region.images) { columns = { times: [], keys: [], coverage: [], pictures: [], curves: [] }; fill(); return; }
    load(region.name, () => { if (wanted === region.name) { columns = window.GLACIERFLOW_IMAGES[region.name]; fill(); } });
  }
  function fill() {
    const inside = (period) => columns.times.map((_, number) => number)
      .filter((number) => period < 0 || (columns.times[number].slice(0, 10) >= data.coverage.periods[period][0] && columns.times[number].slice(0, 10) <= data.coverage.periods[period][1]));
    $("gallery-period").replaceChildren(element("option", { value: "-1" }, "all"), ...data.coverage.labels.map((label, period) => [label, period])
      .filter(([, period]) => inside(period).length || period === state.period).map(([label, period]) => element("option", { value: period, selected: period === state.period }, label)));
    order = inside(state.period);
    at = 0;
    held = -1;
    $("slider").max = Math.max(0, order.length - 1);
    for (const id of ["slider", "step-back", "step-on", "play", "flicker", "hold"]) $(id).disabled = order.length < 2;
    $("gallery-count").textContent = order.length ? count(order.length, "image") : "no images";
    $("sheet").open = false;
    $("thumbnails").replaceChildren();
    show(0);
  }
  const name = (number) => `${columns.times[number].slice(0, 16).replace("T", " ")} UTC`;
  function put(image, number) {
    image.src = columns.pictures[number];
    // all images of the region with the same stretch, so that what changes is the ice
    const [slope, intercept] = columns.curves[number] ?? [1, 0];
    for (const curve of document.querySelectorAll(`#curve-${image.id} feComponentTransfer > *`)) {
      curve.setAttribute("slope", slope);
      curve.setAttribute("intercept", intercept);
    }
    image.style.filter = slope === 1 && intercept === 0 ? "" : `url(#curve-${image.id})`;
    image.alt = `${data.regions[state.chosen].name}, ${name(number)}`;
  }
  function show(place) {
    at = place;
    const number = order[at];
    const picture = number === undefined ? null : columns.pictures[number];
    $("slider").value = at;
    $("shown").hidden = !picture;
    $("held").hidden = true;
    $("no-picture").hidden = Boolean(picture);
    if (number === undefined) { $("caption").textContent = ""; $("no-picture").textContent = "There are no images here."; $("shown").removeAttribute("src"); return; }
    $("slider").setAttribute("aria-valuetext", name(number));
    const share = columns.coverage[number];
    $("caption").textContent = `${at + 1} of ${order.length}: ${name(number)}${share === null ? "" : `, ${Math.round(share * 100)} % of the region has valid pixels`}. ${columns.keys[number]}`;
    if (picture) put($("shown"), number);
    else { $("shown").removeAttribute("src"); $("no-picture").textContent = "An earlier run made this image; its picture lies with that run."; }
    // the next one is there when it is wanted
    for (const next of [order[at + 1], order[at - 1]]) if (next !== undefined && columns.pictures[next]) new Image().src = columns.pictures[next];
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    for (const id of ["play", "flicker"]) $(id).setAttribute("aria-pressed", "false");
    if (columns && order.length) { $("held").hidden = true; $("shown").style.visibility = ""; }
  }
  function toggle(id, every, step) {
    const on = $(id).getAttribute("aria-pressed") === "true";
    stop();
    if (on) return;
    $(id).setAttribute("aria-pressed", "true");
    timer = setInterval(step, every);
  }
  const move = (by) => { stop(); if (order.length) show((at + by + order.length) % order.length); };

  onChoose.push(open);
  $("gallery-period").addEventListener("change", (event) => { stop(); state.period = Number(event.target.value); fill(); });
  $("slider").addEventListener("input", (event) => { stop(); show(Number(event.target.value)); });
  $("step-back").addEventListener("click", () => move(-1));
  $("step-on").addEventListener("click", () => move(1));
  $("play").addEventListener("click", () => toggle("play", playMs, () => show((at + 1) % order.length)));
  $("hold").addEventListener("click", () => { held = at; $("gallery-count").textContent = `${count(order.length, "image")}; held: ${name(order[held])}`; });
  $("flicker").addEventListener("click", () => {
    const other = held >= 0 && held !== at ? held : (at + order.length - 1) % order.length;
    if (!columns.pictures[order[other]] || !columns.pictures[order[at]]) return;
    put($("held"), order[other]);
    toggle("flicker", flickerMs, () => {
      const before = $("held").hidden;
      $("held").hidden = !before;
      $("shown").style.visibility = before ? "hidden" : "";
    });
  });
  for (const image of [$("shown"), $("held")]) {
    image.addEventListener("error", () => {
      image.hidden = true;
      $("no-picture").hidden = false;
      $("no-picture").textContent = `The pictures are not beside this page: "glacierflow report ${data.name}" brings them.`;
    });
    image.addEventListener("load", () => { $("no-picture").hidden = true; });
  }
  $("contrast").addEventListener("input", (event) => { $("stage").style.filter = `contrast(${event.target.value})`; });
  $("enlarge").addEventListener("change", (event) => $("stage").classList.toggle("full", event.target.checked));
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button, .mark, summary, [tabindex]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") move(-1);
    else if (event.key === "ArrowRight") move(1);
  });

  function sheet() {
    const next = order.slice(sheetRows, sheetRows + sheetPage);
    $("thumbnails").append(...next.map((number, place) => {
      const index = sheetRows + place;
      const picture = columns.pictures[number];
      const image = picture ? element("img", { src: picture, loading: "lazy", alt: "" }) : "";
      return element("button", { type: "button", onclick: () => { stop(); show(index); $("stage").scrollIntoView({ block: "nearest" }); } }, image, element("span", {}, name(number)));
    }));
    sheetRows += next.length;
    $("more-thumbnails").hidden = sheetRows >= order.length;
  }
  $("sheet").addEventListener("toggle", () => {
    if (!$("sheet").open || !columns) return;
    sheetRows = 0;
    $("thumbnails").replaceChildren();
    sheet();
  });
  $("more-thumbnails").addEventListener("click", sheet);
})();
