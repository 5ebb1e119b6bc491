// The report: its parts are put together.
$('#open-all').addEventListener('click', () => openStages(true));
$('#close-all').addEventListener('click', () => openStages(false));
$('#diagram-out').addEventListener('click', () => zoomDiagram(1 / ZOOM));
$('#diagram-in').addEventListener('click', () => zoomDiagram(ZOOM));
$('#diagram-fit').addEventListener('click', () => zoomDiagram(null));
$('.diagram').addEventListener('wheel', onDiagramWheel, { passive: false });
filterRows($('#filter'), $('#chunk-table'), $('#found'));
drawPolicies();
drawErrors();
layoutDiagram();
let resized = 0;
addEventListener('resize', () => {
  clearTimeout(resized);
  resized = setTimeout(layoutDiagram, 150);
});
