// Heat maps of several layers, made when the site was built. Plain JavaScript: nothing is fetched but the pictures beside it.
(function () {
  "use strict";
  const root = document.getElementById("maps-player");
  if (!root) return;
  const data = JSON.parse(document.getElementById("maps-data").textContent);
  const $ = (id) => document.getElementById(id);
  const state = { image: 0, layer: "" };

  function choose(box, items, name, picked) {
    // A group of radio buttons by hand: the arrow keys move within it.
    items.forEach((item, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("role", "radio");
      button.innerHTML = name(item);
      button.addEventListener("click", () => { picked(i); draw(); });
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = box.children[(i + step + items.length) % items.length];
        next.focus();
        next.click();
      });
      box.append(button);
    });
  }

  function mark(box, chosen) {
    [...box.children].forEach((button, i) => {
      button.setAttribute("aria-checked", String(i === chosen));
      button.tabIndex = i === chosen ? 0 : -1;
    });
  }

  function draw() {
    const image = data.images[state.image], map = image.maps[state.layer];
    $("maps-base").src = data.folder + image.file;
    $("maps-base").alt = image.alt;
    $("maps-heat").style.opacity = $("maps-opacity").value;
    $("maps-heat").hidden = !map || !map.file;
    if (map && map.file) {
      $("maps-heat").src = data.folder + map.file;
      $("maps-heat").alt = `Grad-CAM of ${state.layer}: ${map.says}`;
    }
    document.querySelectorAll("#maps-outline path").forEach((p) => p.setAttribute("d", image.outline));
    $("maps-outline").style.display = $("maps-show").checked ? "" : "none";
        $("maps-opacity-out").textContent = `${Math.round(100 * $("maps-opacity").value)} %`;
    const found = map || $("maps-show").checked ? `<p>${image.says}</p>` : ""; // nothing is given away before a guess
    const layer = map
      ? `<p><b>${state.layer}</b>, a grid of ${map.grid} × ${map.grid}: ${map.says}.</p>`
      : "<p><b>No map yet.</b> Is it fractured? Where would you point? Then pick a layer.</p>";
    $("maps-says").innerHTML = found + layer;
    mark($("maps-images"), state.image);
    mark($("maps-layers"), data.layers.indexOf(state.layer));
  }

  choose($("maps-images"), data.images, (im) => `<img src="${data.folder}${im.file}" alt=""><span>${im.name}</span>`,
    (i) => { state.image = i; });
  choose($("maps-layers"), data.layers, (layer) => layer || "no map", (i) => { state.layer = data.layers[i]; });
  $("maps-show").addEventListener("change", draw);
  $("maps-opacity").addEventListener("input", draw);
  draw();
})();
