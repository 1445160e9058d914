"""Pictures of real beside synthetic series, drawn for the width of a report.

Every function returns a `matplotlib.figure.Figure` made without pyplot: no state is shared, no window is
opened. Blue is real and orange is synthetic, everywhere (Okabe and Ito's colours, safe for colour-blind
readers); where both share an axis the synthetic line is dashed. Arrays are [n, L, C] in original units, NaN
where missing.
"""
