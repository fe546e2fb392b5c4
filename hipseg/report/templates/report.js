"use strict";
(function () {
  const COLOURS = ["#E69F00", "#009E73", "#CC79A7", "#D55E00", "#F0E442"];
  // As many as share no divisor with the colours: 35 arms differ in one or the other.
  const DASHES = ["6 3", "2 2", "8 2 2 2", "4 4", "1 3", "12 4", "8 2 2 2 2 2"];
  const TRUTH_COLOUR = "#56B4E9";
  const SVG = "http://www.w3.org/2000/svg";
  const find = (id) => document.getElementById(id);

  function compare(a, b) {
    const x = Number(a), y = Number(b);
    if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a < b ? -1 : a > b ? 1 : 0;
  }

  function sortTable(table, head) {
    const heads = Array.from(head.parentNode.children);
    const column = heads.indexOf(head);
    const rising = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((one) => one.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const order = (row) => row.children[column].dataset.order;
    const rows = Array.from(table.tBodies[0].rows);
    rows.sort((a, b) => (rising ? 1 : -1) * compare(order(a), order(b)));
    table.tBodies[0].append(...rows);
  }

  // All words are looked for within one cell and its column's title, since every row has every arm's name somewhere.
  function filterTable(table, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const names = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent.toLowerCase());
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const said = Array.from(row.cells, (cell, place) => names[place] + " " + cell.textContent.toLowerCase());
      row.hidden = !said.some((cell) => words.every((word) => cell.includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    find("shown").textContent = shown + " of " + table.tBodies[0].rows.length + " shown";
  }

  const table = find("patient-table");
  if (table) {
    for (const head of table.tHead.rows[0].cells) head.querySelector("button").addEventListener("click", () => sortTable(table, head));
    find("filter").addEventListener("input", (event) => filterTable(table, event.target.value));
    filterTable(table, "");
  }

  const data = find("case-data");
  if (!data) return;
  const cases = JSON.parse(data.textContent);
  const hidden = new Set();
  let current = 0;

  const TRUTH = {arm: null, name: "truth", colour: TRUTH_COLOUR, dash: ""};
  const lines = (one) => [TRUTH].concat(Object.keys(one.slices[0].answers).map((arm, place) => (
    {arm: arm, name: arm, colour: COLOURS[place % COLOURS.length], dash: DASHES[place % DASHES.length]})));

  function drawSlice() {
    const one = cases[current], slice = one.slices[Number(find("slice").value)];
    const image = find("pixels");
    image.setAttribute("href", slice.image);
    const drawn = lines(one).filter((line) => !hidden.has(line.arm)).map((line) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", line.arm === null ? slice.truth : slice.answers[line.arm]);
      path.setAttribute("fill", "none");
      path.setAttribute("stroke", line.colour);
      path.setAttribute("stroke-dasharray", line.dash);
      path.setAttribute("stroke-width", "2");
      path.setAttribute("vector-effect", "non-scaling-stroke");
      path.dataset.name = line.name;
      return path;
    });
    find("outlines").replaceChildren(...drawn);
    const words = "slice " + (slice.z + 1) + " of " + one.depth;
    find("place").textContent = words;
    find("slice").setAttribute("aria-valuetext", words);
    find("picture-title").textContent = "Case " + one.case + ", " + words + ", with outlines";
  }

  function makeSwitch(line) {
    const label = document.createElement("label"), box = document.createElement("input");
    const swatch = document.createElementNS(SVG, "svg"), stroke = document.createElementNS(SVG, "line");
    box.type = "checkbox";
    box.checked = !hidden.has(line.arm);
    box.addEventListener("change", () => { if (box.checked) hidden.delete(line.arm); else hidden.add(line.arm); drawSlice(); });
    swatch.setAttribute("class", "swatch");
    swatch.setAttribute("viewBox", "0 0 32 3");
    swatch.setAttribute("aria-hidden", "true");
    const drawn = {x2: 32, y1: 1.5, y2: 1.5, stroke: line.colour, "stroke-dasharray": line.dash, "stroke-width": 3};
    for (const [name, value] of Object.entries(drawn)) stroke.setAttribute(name, value);
    swatch.append(stroke);
    const dice = line.arm === null ? undefined : cases[current].dice[line.arm];
    label.append(box, swatch, line.name + (dice === undefined ? "" : ", Dice " + dice));
    return label;
  }

  function showCase(place) {
    current = (place + cases.length) % cases.length;
    const one = cases[current];
    find("case").value = String(current);
    find("picture").setAttribute("viewBox", "0 0 " + one.width + " " + one.height);
    find("pixels").setAttribute("width", one.width);
    find("pixels").setAttribute("height", one.height);
    find("pixels").setAttribute("preserveAspectRatio", "none");
    find("slice").max = String(one.slices.length - 1);
    find("slice").value = String(one.start);
    find("arms").replaceChildren(...lines(one).map(makeSwitch));
    find("legend").textContent = "Case " + one.case + ": solid blue is the truth, dashed lines are the arms.";
    drawSlice();
  }

  find("case").append(...cases.map((one, place) => new Option(one.case, String(place))));
  find("case").addEventListener("change", (event) => showCase(Number(event.target.value)));
  find("previous").addEventListener("click", () => showCase(current - 1));
  find("next").addEventListener("click", () => showCase(current + 1));
  find("slice").addEventListener("input", drawSlice);
  for (const button of document.querySelectorAll("button.show")) {
    const place = cases.findIndex((one) => one.case === button.dataset.case);
    button.disabled = place < 0;
    button.addEventListener("click", () => { showCase(place); find("cases").scrollIntoView(); find("slice").focus(); });
  }
  showCase(0);
})();
