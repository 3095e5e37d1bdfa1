// What a word of the glossary means, where the pointer rests on it.
(function () {
  "use strict";
  const TERMS = @TERMS@;
  document.querySelectorAll('a[href*="glossary.html#term-"], a[href^="#term-"]').forEach((link) => {
    const said = TERMS[decodeURIComponent(link.hash).replace("#term-", "").toLowerCase().replace(/\W+/g, "-")];
    if (said) link.title = said;
  });
})();
