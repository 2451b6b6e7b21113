module kinject/matrix

go 1.21
