"""The layout that shows a reconstruction: the film with outlines on the left, the bones in 3D on the right."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

LAYOUT_ID = 5907  # no other module's: those of Slicer end below 100, and custom ones are to be over
XML = """
<layout type="horizontal" split="true">
 <item splitSize="500">
  <view class="vtkMRMLSliceNode" singletontag="Red">
   <property name="orientation" action="default">Axial</property>
   <property name="viewlabel" action="default">R</property>
   <property name="viewcolor" action="default">#F34A33</property>
  </view>
 </item>
 <item splitSize="500">
  <view class="vtkMRMLViewNode" singletontag="1">
   <property name="viewlabel" action="default">1</property>
  </view>
 </item>
</layout>
"""


class ReconstructionLayout:
    """Registered once, entered with a result, and left for the layout before it when the last result has gone."""

    def __init__(self) -> None:
        self._former: int | None = None

    def register(self) -> None:
        """Makes the layout known, and puts it into the layout menu where there is a main window."""
        node = self._node()
        if node is None:
            return
        if not node.IsLayoutDescription(LAYOUT_ID):
            node.AddLayoutDescription(LAYOUT_ID, XML)
        self._add_to_menu()

    def enter(self) -> None:
        """Shows it, and remembers what was shown."""
        node = self._node()
        if node is not None and node.GetViewArrangement() != LAYOUT_ID:
            self._former = node.GetViewArrangement()
            node.SetViewArrangement(LAYOUT_ID)

    def leave(self) -> None:
        """The former layout again, unless somebody has chosen another one meanwhile."""
        node = self._node()
        if node is not None and self._former is not None and node.GetViewArrangement() == LAYOUT_ID:
            node.SetViewArrangement(self._former)
        self._former = None

    def bones_shape(self) -> float:
        """Width by height of the first 3D view; 1 where there is none."""
        manager = slicer.app.layoutManager()
        if manager is None or manager.threeDViewCount == 0:
            return 1.0
        view = manager.threeDWidget(0).threeDView()
        return view.width / view.height if view.width and view.height else 1.0

    def _node(self) -> Any:
        """None where Slicer has no views."""
        manager = slicer.app.layoutManager()
        return None if manager is None else manager.layoutLogic().GetLayoutNode()

    def _add_to_menu(self) -> None:
        window = slicer.util.mainWindow()
        toolbar = None if window is None else window.findChild(qt.QToolBar, "ViewToolBar")
        buttons = [] if toolbar is None else [toolbar.widgetForAction(a) for a in toolbar.actions()]
        menu = next((b.menu() for b in buttons if b is not None and hasattr(b, "menu") and b.menu()), None)
        if menu is None or any(action.data() == LAYOUT_ID for action in menu.actions()):
            return
        action = menu.addAction(_("Film and bones (DualFaceRecon)"))
        action.setData(LAYOUT_ID)
        action.setToolTip(_("A radiograph with the outlines of its bones, and the bones in 3D"))
        action.connect("triggered()", self.enter)
