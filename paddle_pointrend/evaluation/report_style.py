"""The style of the report's page, light and dark."""

STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6675;--line:#d9dee6;--ground:#fff;--panel:#f5f7fa;
--up:#17803d;--down:#c01f36;--curve:#1f6fd6}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b4;--line:#333b47;--ground:#14181f;
--panel:#1c222b;--up:#58c97d;--down:#ff7b8a;--curve:#6cabff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1600px;padding:24px;background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:26px;line-height:1.25;margin:0 0 16px}
h2{font-size:20px;margin:40px 0 12px}h3{font-size:16px;margin:0 0 8px}
p{max-width:90ch;margin:8px 0}article p{max-width:none}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:12px}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.tile>span{display:block;color:var(--soft);font-size:13px}.tile b{font-size:28px;line-height:1.3}
.up{color:var(--up);font-weight:600}.down{color:var(--down);font-weight:600}.same{color:var(--soft)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 16px;padding:0;font-size:14px}
i{display:inline-block;width:14px;height:14px;margin-right:6px;border-radius:3px;vertical-align:-2px;
border:1px solid var(--line)}
article{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:16px;margin:0 0 20px}
.panels{display:grid;grid-template-columns:repeat(var(--columns),minmax(200px,1fr));gap:12px;overflow-x:auto}
figure{margin:0}img{display:block;width:100%;height:auto;border-radius:4px}
.pixelated{image-rendering:pixelated}
figcaption{font-size:13px;margin-top:4px}small{display:block;color:var(--soft);font-size:12px;line-height:1.4}
.scroll{overflow-x:auto;margin:12px 0 20px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:5px 12px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
thead th{color:var(--soft);font-weight:600}tbody th,th[rowspan]{text-align:left;font-weight:500}
th[colspan]{text-align:center}.group{border-left:1px solid var(--line)}
tbody tr:hover{background:var(--panel)}
.confusion td{background:color-mix(in srgb,var(--curve) var(--share,0%),transparent)}
summary{cursor:pointer;font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:16px}
.charts figure{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:8px;max-width:620px}
svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}
svg .name{fill:var(--ink);font-weight:600;font-size:13px}
svg path{fill:none;stroke-linejoin:round}.grid{stroke:var(--line)}.axis{stroke:var(--soft)}
.line{stroke:var(--curve);stroke-width:2}.faint{stroke:var(--curve);opacity:.3}.dot{fill:var(--curve)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:0}dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
"""
